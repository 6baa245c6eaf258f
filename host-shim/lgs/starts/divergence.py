"""How far a start is from what the model would draw.

For the laws p and q of data with noise of level s added (variance exploding; a flow's s is sigma / alpha),

    KL(p_s || q_s) = integral from s to infinity of E_p |D_p(x, u) - D_q(x, u)|^2 / u^3 du

(the identity behind maximum-likelihood training of diffusion models, Song et al., arXiv 2101.09258, theorem 1, in D
rather than the score). It is what a trajectory that begins with q at s in place of p has lost for good (arXiv
2603.00772), and a few evaluations of the model at points of the start's own tell it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from .._arguments import Denoiser
from ..errors import InvalidArgument
from .levels import ITEMS, LEVELS, Divergence
from .start import Start, asked, checked_levels, signal

LIMIT = 4.0
"""Nats from which on no more levels are asked for."""

RATIO = 1.5
"""Between one level and the next."""


def divergence(
    start: Start,
    denoise: Denoiser,
    sigma: float,
    *,
    items: int = ITEMS,
    levels: int = LEVELS,
    process: str = "ve",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Divergence:
    """The divergence of a start from ``denoise``, prompted and guided as it is, below ``sigma``: the model's highest
    level (for a flow below 1: 0.97, say).

    At most ``levels`` evaluations of a batch of ``items``, from ``sigma`` down by `RATIO` each, until the start is
    `LIMIT` nats off. Where the model's answers are not finite, raises `lgs.InvalidArgument`.
    """
    sigma, _ = checked_levels(sigma, None, process)
    if items < 1 or levels < 2 or (process == "flow" and sigma >= 1):
        raise InvalidArgument(
            f"items, levels, sigma: expected at least 1 and 2, and for a flow a level below 1, got {items}, {levels} "
            f"and {sigma}"
        )
    found: list[tuple[float, float]] = []
    total = previous = 0.0
    for number in range(levels):
        s = sigma / signal(sigma, process) / RATIO**number
        at = s / (1 + s) if process == "flow" else s
        # Others at each level: what one point is off by chance does not add up over all of them.
        noise = torch.randn(items, *start.shape, device=device, generator=generator)
        x = start.begin(noise, at, process)
        difference = asked(denoise, x, at, dtype).float() - start.denoised(x, at, process)
        error = difference.double().square().sum().item() / items
        rate = error / s**2
        # The integral over log s by the trapezoidal rule; above the highest level the rate falls as s^-4.
        total += math.log(RATIO) * (rate + previous) / 2 if number else rate / 4
        previous = rate
        found.append((s, total))
        if progress is not None:
            progress((number + 1) * items)
        if total > LIMIT:
            break
    return Divergence(tuple(s for s, _ in found), tuple(nats for _, nats in found))
