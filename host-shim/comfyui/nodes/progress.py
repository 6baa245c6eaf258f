"""ComfyUI's progress bar, and the console's, with the model evaluation in hand: a step has several."""

from __future__ import annotations

from collections.abc import Callable

from comfy.utils import ProgressBar
from tqdm import tqdm

from ..lgs import Options


class EvaluationProgress:
    """Counts steps, with the part of the step in hand as their fraction: 3.25 of 10.

    A step is taken to have as many evaluations as the one before, the first as many as the options
    ask for. ``step_done`` is ComfyUI's own callback of a step, which moves its bar to the whole number
    and shows the preview; there is no bar of ComfyUI's without one. ``skipped`` steps came before, at no evaluation.
    """

    def __init__(
        self, steps: int, options: Options, step_done: Callable[[dict], None] | None, console: tqdm, skipped: int = 0
    ):
        self._step_done, self._console = step_done, console
        # The hook behind it is that of the node which is running, as for the bar of ComfyUI's callback.
        self._bar = None if step_done is None else ProgressBar(skipped + steps)
        self._skipped = skipped
        self._step, self._evaluations, self._expected = 0, 0, 1 + options.products

    def evaluated(self, points: int) -> None:
        """The model was evaluated at so many points."""
        self._evaluations += points
        # What is more than expected shows when the step is done.
        if self._evaluations < self._expected:
            self._console.set_postfix_str(f"evaluation {self._evaluations} of {self._expected}", refresh=False)
            self._console.update(0)
            if self._bar is not None:
                self._bar.update_absolute(self._skipped + self._step + self._evaluations / self._expected)

    def stepped(self, step: dict) -> None:
        """`lgs.sample`'s callback."""
        if self._step_done is not None:
            self._step_done(step)
        self._console.set_postfix_str("", refresh=False)
        self._console.update(step["i"] + 1 - self._console.n)
        self._step, self._expected, self._evaluations = step["i"] + 1, self._evaluations, 0
