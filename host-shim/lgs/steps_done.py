"""How far a trajectory has come, with the model evaluation in hand: a step has several."""

from __future__ import annotations

from typing import Any

from .options import Options


class StepsDone:
    """Counts steps, with the part of the step in hand as their fraction: 3.25.

    A step is taken to have as many products as the one before, the first as many as the options ask for, each at what
    it costs in the way that was chosen; while ways are tried, in the first step, there are more.
    """

    def __init__(self, options: Options):
        self.steps = 0
        self.evaluations = 0
        """Those of the step in hand."""
        self.expected = 1 + options.products
        """How many it will have, at a guess."""
        self._products = 0

    def evaluated(self, points: int) -> float | None:
        """The model was evaluated at so many points: how many steps that makes. None where the step in hand has
        had more than was expected; what is more shows when the step is done."""
        self.evaluations += points
        return None if self.evaluations >= self.expected else self.steps + self.evaluations / self.expected

    def stepped(self, step: dict[str, Any]) -> None:
        """`lgs.sample`'s callback."""
        products, self._products = step["jvps"] - self._products, step["jvps"]
        self.steps, self.evaluations, self.expected = step["i"] + 1, 0, evaluations_of(step["jvp"], products)


def evaluations_of(jvp: str, products: int) -> int:
    """Of a step with so many products: forward mode gives D(x) with the first of them."""
    match jvp:
        case "forward":
            return max(1, products)
        case "central-difference":
            return 1 + 2 * products
        case _:
            return 1 + products
