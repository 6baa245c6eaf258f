"""Schedules from below their first level: the shape stays, and so does the number of steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import lgs
from lgs.starts.schedule import respaced


def exponential(high: float, low: float, levels: int) -> Tensor:
    return torch.linspace(math.log(high), math.log(low), levels, dtype=torch.float64).exp()


def karras(high: float, low: float, levels: int, rho: float = 7.0) -> Tensor:
    ramp = torch.linspace(0, 1, levels, dtype=torch.float64)
    return (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho


def with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


@pytest.mark.parametrize("sigma_next", [14.0, 5.0, 0.04])
def test_an_exponential_schedule_stays_one(sigma_next):
    respaced_ = respaced(with_zero(exponential(14.6, 0.03, 10)), sigma_next)

    assert respaced_[0] == pytest.approx(14.6) and respaced_[-1] == 0
    torch.testing.assert_close(respaced_[1:-1], exponential(sigma_next, 0.03, 10), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("levels", "off"), [(6, 0.05), (10, 0.02), (20, 0.005)])
@pytest.mark.parametrize("sigma_next", [8.0, 3.0, 1.0])
def test_karras_schedule_nearly_stays_one(levels, off, sigma_next):
    respaced_ = respaced(with_zero(karras(14.6, 0.03, levels)), sigma_next)

    expected = karras(sigma_next, 0.03, levels)
    assert (respaced_[1:-1] / expected).log().abs().max() < off
    # Or any schedule between the two ends would do.
    assert (exponential(sigma_next, 0.03, levels) / expected).log().abs().max() > 4 * off


def test_one_that_ends_above_zero_ends_there():
    respaced_ = respaced(exponential(14.6, 2.0, 6), 5.0)

    assert len(respaced_) == 7 and respaced_[1] == 5.0 and respaced_[-1] == 2.0


def test_a_flow_falls_all_the_way():
    respaced_ = respaced(torch.linspace(1, 0, 9), 0.7)

    assert respaced_.dtype == torch.float32 and len(respaced_) == 10
    assert (respaced_.diff() < 0).all()
    assert respaced_[0] == 1 and respaced_[1] == pytest.approx(0.7) and respaced_[-2:].tolist() == [0.125, 0]


def test_a_single_step_has_a_jump_before_it():
    assert respaced(torch.tensor([14.0, 0.0]), 5.0).tolist() == [14, 5, 0]


@pytest.mark.parametrize("sigma_next", [3.0, 4.0])
def test_one_that_starts_lower_is_left_alone(sigma_next):
    sigmas = torch.tensor([3.0, 1.0, 0.0])

    assert respaced(sigmas, sigma_next) is sigmas


@pytest.mark.parametrize(
    ("sigmas", "sigma_next", "words"),
    [
        ([3.0, 3.0, 0.0], 2.0, "noise levels that fall"),
        ([3.0], 2.0, "at least two"),
        ([3.0, math.nan, 0.0], 2.0, "noise levels that fall"),
        ([3.0, 1.0, -1.0], 2.0, "noise levels that fall"),
        ([3.0, 1.0, 0.0], 0.0, "above 0"),
        ([3.0, 1.0, 0.0], 1.0, "above 1, the last positive one"),
    ],
)
def test_what_has_no_such_schedule_is_refused(sigmas, sigma_next, words):
    with pytest.raises(lgs.InvalidArgument, match=words):
        respaced(torch.tensor(sigmas), sigma_next)
