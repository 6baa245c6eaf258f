"""ComfyUI's progress bar, and the console's, with the model evaluation in hand: a step has several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from comfy.utils import ProgressBar
from tqdm import tqdm

from ..lgs import Options
from ..lgs.steps_done import StepsDone


class EvaluationProgress:
    """Shows the steps that `lgs.steps_done` counts.

    ``step_done`` is ComfyUI's own callback of a step, which moves its bar to the whole number and shows the preview;
    there is no bar of ComfyUI's without one. ``skipped`` steps came before, at no evaluation.
    """

    def __init__(
        self, steps: int, options: Options, step_done: Callable[[dict], None] | None, console: tqdm, skipped: int = 0
    ):
        self._step_done, self._console = step_done, console
        # The hook behind it is that of the node which is running, as for the bar of ComfyUI's callback.
        self._bar = None if step_done is None else ProgressBar(skipped + steps)
        self._skipped, self._count = skipped, StepsDone(options)

    def evaluated(self, points: int) -> None:
        """The model was evaluated at so many points."""
        done = self._count.evaluated(points)
        if done is not None:
            evaluations = f"evaluation {self._count.evaluations} of {self._count.expected}"
            self._console.set_postfix_str(evaluations, refresh=False)
            self._console.update(0)
            if self._bar is not None:
                self._bar.update_absolute(self._skipped + done)

    def stepped(self, step: dict) -> None:
        """`lgs.sample`'s callback."""
        if self._step_done is not None:
            self._step_done(step)
        self._console.set_postfix_str("", refresh=False)
        self._console.update(step["i"] + 1 - self._console.n)
        self._count.stepped(step)


class EvaluationBar:
    """Counts the evaluations of parts that are expected to have so many each."""

    def __init__(self, expected: Sequence[int], console: tqdm):
        self._ends = list(accumulate(expected))
        self._console, self._bar = console, ProgressBar(self._ends[-1])
        self._part = self._done = 0

    def evaluated(self, points: int) -> None:
        # Where a part has more than expected the bar waits before its end.
        self._show(min(self._done + points, self._ends[self._part] - 1))

    def part_done(self) -> None:
        self._show(self._ends[self._part])
        self._part += 1

    def _show(self, done: int) -> None:
        self._console.update(done - self._console.n)
        self._bar.update_absolute(done)
        self._done = done
