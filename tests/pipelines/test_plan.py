"""Which noise level each evaluation is at."""

from __future__ import annotations

import pytest

import lgs
from lgs.diffusers.options import options_of
from lgs.diffusers.plan import Plan

LEVELS = [20.0, 9.0, 5.0, 3.0, 2.0, 1.0, 0.6, 0.3, 0.1, 0.0]


def plan(levels: list[float] = LEVELS, is_flow: bool = False, **options) -> Plan:
    """Products from 0.5 to 10, unless something else is said."""
    return Plan(levels, options_of({"solver": "ancestral"} | options, is_flow=is_flow))


@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({"solver": "secant"}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"covariance": "isotropic"}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({}, [0, 1, 1, 3, 3, 5, 5, 7, 8, 9]),
        ({"jvp": "central-difference"}, [0, 1, 1, 1, 4, 4, 4, 7, 8, 9]),
        ({"lanczos_steps": 3}, [0, 1, 1, 1, 1, 5, 6, 7, 8, 9]),  # four are left from level 5 on, and would end at 0
        ({"covariance_min_sigma": 0.0}, [0, 1, 1, 3, 3, 5, 5, 7, 8, 9]),
        ({"covariance_max_sigma": 4.0}, [0, 1, 2, 3, 3, 5, 5, 7, 8, 9]),
        ({"s_noise": 0.0}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),  # products are taken for the noise
        ({"covariance": "spectral", "probes": 2}, [0, 1, 1, 1, 4, 4, 4, 7, 8, 9]),
    ],
)
def test_a_step_with_products_leads_on_by_its_evaluations(options: dict, at: list[int]):
    assert plan(**options).at == at


def test_flows_go_by_noise_to_signal():
    levels = [1.0, 0.95, 0.8, 0.6, 0.5, 0.3, 0.2, 0.0]  # of which the range's are 0.8 to 0.5, and 0.95 is 19
    assert plan(levels, is_flow=True).at == [0, 1, 2, 2, 4, 4, 6, 7]


def test_at_an_end_above_0_products_may_lead_to_the_very_end():
    assert plan([9.0, 5.0, 3.0]).at == [0, 0, 2]
    assert plan([9.0, 5.0, 0.0]).at == [0, 1, 2]


def test_what_begins_at_an_evaluation():
    made = plan(lanczos_steps=2)
    assert made.at == [0, 1, 1, 1, 4, 4, 4, 7, 8, 9]
    whole, options, unused = made.from_evaluation(0)
    assert whole == [20.0, 9.0, 2.0, 0.3, 0.1, 0.0] and unused == 0
    assert 1.9 < options.covariance_min_sigma < 2 and 9 < options.covariance_max_sigma < 10
    # Within the step from 9: two evaluations are left, of which one is of use, and products come from 2 on.
    later, options, unused = made.from_evaluation(2)
    assert later == whole[1:] and unused == 1 and 2 < options.covariance_max_sigma < 9
    assert made.from_evaluation(3)[2] == 0
    # And none at all: no level is in the range.
    last, options, unused = made.from_evaluation(7)
    assert last == [0.3, 0.1, 0.0] and unused == 0 and options.covariance_min_sigma > 20
    assert plan(solver="secant").from_evaluation(3)[1] == options_of({"solver": "secant"}, is_flow=False)


def test_no_steps():
    assert plan([0.0]).at == [0]


@pytest.mark.parametrize("levels", [[1.0, 2.0, 0.0], [2.0, 2.0, 1.0], [2.0, 1.0, 1.5], [float("nan"), 1.0, 0.0]])
def test_levels_have_to_fall(levels: list[float]):
    with pytest.raises(lgs.InvalidArgument, match="sigmas: expected noise levels that"):
        plan(levels)
