"""Records to be shown: of a run on Gaussian data, and of steps that are made up."""

from __future__ import annotations

import torch

import lgs
from lgs.record import Step

from .gaussian import Gaussian

SIGMAS = [5.0, 2.0, 0.7, 0.2, 0.0]


def recorded(options: dict | lgs.Options, sigmas: list[float] = SIGMAS, batch: int = 2) -> lgs.Record:
    record = lgs.Record({"seed": 7})
    lgs.sample(Gaussian(16, 1.6).denoiser(), torch.randn(batch, 16), sigmas, options, callback=record)
    return record


def step(sigma: float, added: float, *, evaluations: int = 4, error: float = 0.01, ritz=(0.1, 0.5, 0.9)) -> Step:
    """One whose noise has variance 1, and this much of it from the covariance."""
    values = torch.tensor([ritz], dtype=torch.float64)
    return Step(sigma, sigma / 2, evaluations, len(ritz), "auto", values, error, added, 1.0, 0.5)


def record_of(*steps: Step) -> lgs.Record:
    record = lgs.Record()
    record.steps = list(steps)
    record._evaluations = sum(step.model_evaluations for step in steps)
    return record
