"""Which noise level each evaluation of the model is at, known before the first one.

A pipeline asks its model once for each of a scheduler's timesteps, and begins anywhere in their list. So a schedule
has a timestep for each *evaluation*: a step takes one and leads to the next level, and a step with products leads as
many levels on as it takes evaluations, all at the level that it begins at. Then ``num_inference_steps`` is what a run
costs, and the scheduler's ``order`` is 1: a pipeline that leaves out a share of the list, as image to image does,
begins at the noise level that it means to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import InvalidArgument
from ..options import Options
from .options import evaluations

NOWHERE = 10000.0
"""The largest level that ``covariance_max_sigma`` can be."""

ROUNDING = 1e-9
"""Relative: more than a number changes by on its way to the library, less than levels in float32 differ by."""


class Plan:
    """The evaluations between the noise levels ``levels``, (evaluations + 1,), which fall, with these options."""

    def __init__(self, levels: list[float], options: Options):
        check_levels(levels)
        self.levels, self.options = levels, options
        self._each = evaluations(options)
        last = len(levels) - 1
        self.at: list[int] = []
        """For each evaluation the index of the level that it is at, and at the end the last index."""
        while len(self.at) < last:
            level, then = len(self.at), len(self.at) + self._each
            # The last evaluations, where they do not suffice for products, are taken one by one.
            takes_products = then <= last and levels[then] > 0 and self._is_within(level)
            self.at += [level] * (self._each if takes_products else 1)
        self.at.append(last)

    def level(self, evaluation: int) -> float:
        """The noise level that it is at, or that a trajectory ends at."""
        return self.levels[self.at[evaluation]]

    def from_evaluation(self, first: int) -> tuple[list[float], Options, int]:
        """The noise levels and options of the trajectory that begins there, and how many evaluations it cannot use.

        Within a step with products the evaluations that are left are too few for them, and all but one are of no use.
        """
        levels = list(dict.fromkeys(self.at[first:]))
        options, unused = self.options, 0
        if self._each > 1:
            counts = [self.at[first:].count(level) for level in levels]
            with_products = [
                self._noise_to_signal(level) for level, n in zip(levels, counts, strict=True) if n == self._each
            ]
            with_products = with_products or [NOWHERE]
            lowest, highest = with_products[-1] * (1 - ROUNDING), min(with_products[0] * (1 + ROUNDING), NOWHERE)
            options = options._with(covariance_min_sigma=lowest, covariance_max_sigma=highest)
            unused = 0 if counts[0] == self._each else counts[0] - 1
        return [self.levels[level] for level in levels], options, unused

    def _is_within(self, level: int) -> bool:
        return self.options.covariance_min_sigma <= self._noise_to_signal(level) <= self.options.covariance_max_sigma

    def _noise_to_signal(self, level: int) -> float:
        sigma = self.levels[level]
        if self.options.process == "ve":
            return sigma
        return sigma / (1 - sigma) if sigma < 1 else math.inf


def check_levels(levels: Sequence[float]) -> None:
    """They have to fall, as each evaluation is at a level of its own. At the end, where a schedule stops at the
    smallest level of training, two may be the same."""
    for before, after in zip(levels[:-2], levels[1:-1], strict=True):
        if not after < before:
            raise InvalidArgument(
                f"sigmas: expected noise levels that fall, got {after:.6g} after {before:.6g}. Take fewer steps where "
                "a schedule repeats itself, or another scheduler where it rises."
            )
    if len(levels) > 1 and levels[-1] > levels[-2]:
        raise InvalidArgument(
            f"sigmas: expected noise levels that end in a fall, got {levels[-1]:.6g} after {levels[-2]:.6g} at the "
            "end: turning pictures back into noise is not supported."
        )
