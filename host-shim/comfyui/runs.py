"""What the runs of an LGS Sampler were like, kept with its SAMPLER, and which of them made a latent."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from . import lgs

KEPT = 8
"""Runs that a SAMPLER remembers: one may be wired to several sampling nodes."""

NUMBERS = 64
"""Of a latent, to know it by."""


class Run(NamedTuple):
    """One call of the sampler."""

    record: lgs.Record
    fingerprint: Tensor


def new_runs() -> deque[Run]:
    """Where a SAMPLER keeps its runs, the last one last."""
    return deque(maxlen=KEPT)


def fingerprint(samples: Tensor) -> Tensor:
    """Numbers from all over a latent, (NUMBERS,) or fewer: other noise gives others."""
    numbers = samples.detach().flatten()
    return numbers[:: max(1, len(numbers) // NUMBERS)][:NUMBERS].cpu().float()


def run_of(runs: deque[Run], samples: Tensor) -> Run | None:
    """The run whose result ``samples`` is; None if it is none's."""
    if samples.is_nested:
        return None
    wanted = fingerprint(samples)
    for run in reversed(runs):
        if run.fingerprint.shape == wanted.shape and torch.allclose(run.fingerprint, wanted, rtol=1e-3, atol=1e-5):
            return run
    return None
