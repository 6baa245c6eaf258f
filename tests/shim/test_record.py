"""A run's record: what it keeps of each step."""

import pytest
import torch

import lgs

from .gaussian import Gaussian
from .records import SIGMAS, recorded


def test_it_keeps_each_step_by_itself():
    record = recorded({"lanczos_steps": 2, "jvp": "finite-difference", "covariance_min_sigma": 1.0})
    assert [step.model_evaluations for step in record.steps] == [3, 3, 1, 1]
    assert [step.jvps for step in record.steps] == [2, 2, 0, 0]
    assert record.model_evaluations == 8 and record.batch == 2
    assert [step.sigma for step in record.steps] == pytest.approx(SIGMAS[:-1])
    assert [tuple(step.ritz_values.shape) for step in record.steps] == [(2, 2), (2, 2), (2, 0), (2, 0)]
    assert all(step.seconds >= 0 for step in record.steps) and record.seconds > 0
    assert record.steps[0].added_variance > 0 == record.steps[2].added_variance == record.steps[3].added_variance


def test_what_the_covariance_adds_is_of_the_trace():
    """The mean over many items of c zᵀ J z / d is c tr J / d."""
    gaussian = Gaussian(16, 1.6)
    record = lgs.Record()
    x = torch.randn(4000, 16, dtype=torch.float64)
    lgs.sample(gaussian.denoiser(), x, [0.5, 0.2], {"lanczos_steps": 1}, callback=record)
    with_it = gaussian.reverse_variance("ve", 0.5, 0.2, 1.0).mean().item()
    v = (0.25 - 0.04) * 0.04 / 0.25
    assert record.steps[0].added_variance == pytest.approx(with_it - v, rel=0.05)
    assert record.steps[0].noise_variance == pytest.approx(with_it, rel=0.05)
