"""How much a start costs at each noise level, and from this where a trajectory should begin."""

from __future__ import annotations

import dataclasses
import json
import math

ALLOWED, AT = 0.3, 5
"""Nats that a start may cost at so many evaluations. What more evaluations leave to gain falls: the error of a solver
of order two with their square, and nats with the square of that, so the allowance falls with their fourth power.

Chosen on the half of the evidence's pictures that nothing is reported on, among 0.03, 0.1, 0.3 and 1: up to 0.3,
samples come nearer to the network's own at next to no price to real pictures; at 1 digits lose what a start had
brought."""

LEAST = 0.001
"""Nats that it may cost in any number of evaluations: hundreds of pictures do not tell laws apart that are so near, and
pure noise, which hosts begin with, is farther off."""

LEVELS, ITEMS = 12, 4
"""At which a start is compared with the model, at most, and in how many points each."""

COMPARED = 7 / 16
"""Of the evaluations that a start from the model itself may take, those for this comparison, at most."""


def shared(evaluations: int) -> tuple[int, int]:
    """Of so many evaluations of the model, 10 or more, those that a start is fitted to, and the levels at which it is
    compared with the model, in `ITEMS` points each."""
    levels = max(2, min(LEVELS, int(COMPARED * evaluations) // ITEMS))
    return evaluations - levels * ITEMS, levels


@dataclasses.dataclass(frozen=True)
class Divergence:
    """``nats[i]``: KL of the model's law from the start's with noise of level ``levels[i]`` (falling) added."""

    levels: tuple[float, ...]
    nats: tuple[float, ...]

    def at(self, level: float) -> float:
        """Nats at a level, between those measured by log-log interpolation; infinite below the last."""
        if level < self.levels[-1] * (1 - 1e-9):
            return math.inf
        points = list(zip(self.levels, self.nats, strict=True))
        if level >= self.levels[0]:
            # As for any two laws of finite variance: it falls with the fourth power.
            return self.nats[0] * (self.levels[0] / level) ** 4
        (above, fewer), (below, more) = next(
            (a, b) for a, b in zip(points[:-1], points[1:], strict=True) if b[0] <= level * (1 + 1e-9)
        )
        share = math.log(above / level) / math.log(above / below)
        return math.exp((1 - share) * math.log(max(fewer, 1e-30)) + share * math.log(max(more, 1e-30)))

    def level(self, evaluations: int, allowed: float = ALLOWED) -> float | None:
        """The lowest level sigma / alpha at which the start costs no more than it may in a trajectory of so many
        evaluations; None where there is none below the highest measured: it would hurt. ``allowed``: nats, at `AT`
        evaluations."""
        allowed = max(min(LEAST, allowed), allowed * (AT / max(AT, evaluations)) ** 4)
        tried = [self.levels[0] * (self.levels[-1] / self.levels[0]) ** (i / 200) for i in range(201)]
        fitting = [level for level in tried if self.at(level) <= allowed]
        return min(fitting) if len(fitting) > 1 else None

    def as_text(self) -> str:
        return json.dumps({"levels": [f"{x:.6g}" for x in self.levels], "nats": [f"{x:.4g}" for x in self.nats]})

    @classmethod
    def from_text(cls, text: str) -> Divergence:
        """Of `as_text`. Raises a ValueError for another text."""
        try:
            told = json.loads(text)
            found = cls(*(tuple(float(x) for x in told[name]) for name in ("levels", "nats")))
        except (TypeError, KeyError, AttributeError) as problem:
            raise ValueError(f"expected levels and nats, got {text[:80]!r}") from problem
        falling = all(a > b > 0 for a, b in zip(found.levels, found.levels[1:], strict=False))
        rising = all(0 <= a <= b < math.inf for a, b in zip(found.nats, found.nats[1:], strict=False))
        if len(found.levels) != len(found.nats) or not found.levels or not falling or not rising:
            raise ValueError(f"expected falling levels and as many rising nats, got {text[:80]!r}")
        return found
