"""A record of a trajectory, step by step. `lgs.summary` puts it into words, `lgs.plot` draws it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from torch import Tensor

from .errors import InvalidArgument
from .options import Options


@dataclasses.dataclass(frozen=True)
class Step:
    """One reverse step from ``sigma`` to ``sigma_next``; the names are those of `lgs.sample`'s callback."""

    sigma: float
    sigma_next: float
    model_evaluations: int
    """Of this step alone."""
    jvps: int
    """Jacobian-vector products of this step alone."""
    jvp: str
    """How they were computed; ``"auto"`` where that was not decided yet."""
    ritz_values: Tensor
    """(batch, products), float64, rising; a secant's (batch, octaves), at ``sigma_next``; (batch, 0) without either."""
    lanczos_error: float
    """nan without Lanczos."""
    covariance_share: float
    """nan without noise."""
    noise_variance: float
    """0 without noise."""
    seconds: float

    @property
    def for_products(self) -> int:
        """Model evaluations for products: all but D(x) itself, which forward mode gives with the first."""
        if not self.jvps:
            return 0
        return self.model_evaluations - (0 if self.jvp == "forward" else 1)

    @property
    def added_variance(self) -> float:
        """Variance for each number of x that the posterior covariance added in this step."""
        return self.noise_variance * self.covariance_share if self.noise_variance > 0 else 0.0


class Record:
    """A callback for `lgs.sample` that keeps what each step reports, except x and the posterior mean.

        from lgs import summary

        record = lgs.Record()
        lgs.sample(denoise, x, sigmas, options, callback=record)
        print(summary.table(record))

    One record is for one trajectory, and its clock starts when it is made. ``about``: anything else about
    the run, by name; it is printed with the table.
    """

    def __init__(self, about: Mapping[str, Any] | None = None):
        self.about: dict[str, Any] = dict(about or {})
        self.steps: list[Step] = []
        self.options: Options | None = None
        """Of the run; None before its first step."""
        self.batch: int = 0
        self._evaluations = self._jvps = 0
        self._time = time.perf_counter()

    def __call__(self, progress: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        self.options, self.batch = progress["options"], len(progress["x"])
        self.steps.append(
            Step(
                sigma=float(progress["sigma"]),
                sigma_next=float(progress["sigma_next"]),
                model_evaluations=progress["model_evaluations"] - self._evaluations,
                jvps=progress["jvps"] - self._jvps,
                jvp=progress["jvp"],
                ritz_values=progress["ritz_values"],
                lanczos_error=progress["lanczos_error"],
                covariance_share=progress["covariance_share"],
                noise_variance=progress["noise_variance"],
                seconds=now - self._time,
            )
        )
        self._evaluations, self._jvps = progress["model_evaluations"], progress["jvps"]
        self._time = now

    def expect_steps(self) -> None:
        """Raises `lgs.InvalidArgument` where there is nothing to show."""
        if not self.steps:
            raise InvalidArgument(
                "record: expected the record of a run, got one without steps. Give it to lgs.sample as its callback."
            )

    @property
    def extended(self) -> bool:
        """The noise was made with the free extra vector. The estimated errors are without it."""
        return self.options is not None and self.options.extended

    @property
    def model_evaluations(self) -> int:
        """Of all steps."""
        return self._evaluations

    def usual_seconds(self, step: Step) -> float:
        """What a step takes once the model is loaded and compiled: as long as later ones that do the same."""
        alike = [other.seconds for other in self.steps if (other.jvps, other.jvp) == (step.jvps, step.jvp)]
        return min(step.seconds, median(alike))

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return math.fsum(step.seconds for step in self.steps)
