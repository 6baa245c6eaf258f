"""LGS as the scheduler that InvokeAI's loop for Flux steps with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace

import torch
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from invokeai.backend.flux.sampling_utils import pack, unpack
from invokeai.backend.flux.schedulers import FLUX_SCHEDULER_MAP
from torch import Tensor

from .. import lgs

NAME = "lgs"
"""What InvokeAI's table of schedulers calls it."""

TIMES = 1000
"""What a time of diffusers' is of a noise level."""


class FluxSteps:
    """What the loop uses of a scheduler of diffusers.

    It asks the model once at each of ``timesteps``, (evaluations,), moves the latents behind a mask, and goes on with
    what `step` gives: the latents are packed, (1, tokens, 64), for pictures of ``height`` and ``width`` pixels.
    """

    config = SimpleNamespace(num_train_timesteps=TIMES)

    def __init__(self, options: lgs.Options, height: int, width: int, seed: int):
        self._options, self._size = options, (height, width)
        # As InvokeAI has it for schedulers that draw noise.
        self._generator = torch.Generator().manual_seed(seed ^ 0xFFFFFFFF)
        self._trajectory: lgs.Trajectory | None = None

    def set_timesteps(self, sigmas: list[float], device: torch.device) -> None:
        """The noise levels, from the first to where the run ends."""
        self._levels = sigmas
        # The secant looks once more where the run ends above 0.
        asked = sigmas if self._options.solver == "secant" and sigmas[-1] > 0 else sigmas[:-1]
        self.timesteps = TIMES * torch.tensor(asked, dtype=torch.float64)
        self.sigmas = torch.tensor([*asked, sigmas[-1]], dtype=torch.float64)
        """Where the model is asked, and where the result is."""

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor) -> SchedulerOutput:
        """Goes on from ``sample``, where the model predicts the velocity ``model_output``, both (1, tokens, 64)."""
        x, velocity = (unpack(packed, *self._size) for packed in (sample, model_output))
        if self._trajectory is None:
            self._trajectory = lgs.Trajectory(x, self._levels, self._options, noise=self._noise(x))
        denoised = x.float() - self._trajectory.level * velocity.float()
        self._trajectory.advance(denoised, x)
        then = self._trajectory.result if self._trajectory.done else self._trajectory.x
        return SchedulerOutput(prev_sample=pack(then))

    def close(self) -> None:
        """Ends a run that InvokeAI has broken off."""
        if self._trajectory is not None:
            self._trajectory.close()

    def _noise(self, x: Tensor):
        return lambda _sigma, _sigma_next: torch.randn(x.shape, generator=self._generator).to(x.device)


_running: ContextVar[FluxSteps] = ContextVar("running")
"""The steps of the node that runs in this thread: InvokeAI makes schedulers by name, and has no place for options."""


@contextmanager
def in_the_place_of_a_scheduler(steps: FluxSteps) -> Iterator[None]:
    """Meanwhile InvokeAI finds these under `NAME`, on this thread."""
    before = _running.set(steps)
    try:
        yield
    finally:
        _running.reset(before)
        steps.close()


def enter_list() -> None:
    """Has InvokeAI's table of schedulers know of this one. No node offers it but ours."""
    FLUX_SCHEDULER_MAP[NAME] = lambda num_train_timesteps: _running.get()
