"""diffusers' schedulers, over noise levels of ours and from a denoiser.

A scheduler is told the levels by putting them where it keeps its own, and the posterior mean as its model's
``sample``. Its state is x/sqrt(1 + sigma^2) for a variance-exploding process, and x itself for a flow. The step to
sigma = 0 is the posterior mean, as it is by each of their first-order formulas, of which some are 0/0 there. It
counts among the steps all the same: near the last of them a scheduler lowers its order.

IPNDM's knows no levels but its own, and no data but a velocity; the polynomial that it fits to noise is the same in
either process, as dx/dsigma = (x - D)/sigma in both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch import Tensor

NEARLY_ONE = 1 - 1e-6
"""For a level of 1 of a flow, where the ratio of data to noise has no logarithm: what UniPC's takes there."""

SA_SOLVER_RANGE = (0.2, 0.8)
"""The part of the way, in the logarithm of sigma or for a flow in sigma, in which SA-Solver adds noise."""


@dataclasses.dataclass(frozen=True)
class Scheduler:
    """A scheduler of diffusers and its settings."""

    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    processes: tuple[str, ...] = ("ve", "flow")


def sample(
    scheduler: Scheduler,
    denoise: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    sigmas: Tensor,
    noise: Callable[..., Tensor],
    process: str,
) -> Tensor:
    """As `evidence.rivals.sample`."""
    if process == "flow":
        sigmas = torch.cat([sigmas[:1].clamp(max=NEARLY_ONE), sigmas[1:]])
    by_velocity = scheduler.name in ("IPNDMScheduler", "LTXEulerAncestralRFScheduler")
    # IPNDM's solves the flow's equation as it stands, in its own coordinates.
    exploding = process == "ve" or scheduler.name == "IPNDMScheduler"
    alphas = (1 + sigmas**2).rsqrt() if exploding else torch.ones_like(sigmas)
    made = _made(scheduler, sigmas, process)
    state = x * alphas[0]
    with _drawing(made, noise, sigmas, process):
        for i, (sigma, alpha) in enumerate(zip(sigmas[:-2], alphas[:-2], strict=True)):
            x = state / alpha
            answer = denoise(x, sigma.expand(len(x)))
            if by_velocity:
                slope = (x - answer) / sigma
                answer = alpha * slope - alpha * sigma * (x - sigma * slope) if exploding else slope
            own = {}
            if scheduler.settings.get("algorithm_type", "").startswith("sde"):
                own = {"variance_noise": noise()}
            state = made.step(answer, made.timesteps[i], state, **own).prev_sample
    return denoise(state / alphas[-2], sigmas[-2].expand(len(x)))


def _made(scheduler: Scheduler, sigmas: Tensor, process: str) -> Any:
    """The scheduler, as after its ``set_timesteps``, over these levels."""
    kind = getattr(importlib.import_module("diffusers"), scheduler.name)
    steps = len(sigmas) - 1
    if scheduler.name == "IPNDMScheduler":
        made = kind()
        made.set_timesteps(steps)
        made.alphas = (1 + sigmas**2).rsqrt()
        made.betas = sigmas * made.alphas
        return made
    if scheduler.name == "LTXEulerAncestralRFScheduler":
        made = kind()
        made.set_timesteps(sigmas=sigmas)
        return made
    settings = {"prediction_type": "sample", "use_flow_sigmas": process == "flow", **scheduler.settings}
    made = kind(**settings)
    made.set_timesteps(steps)
    made.sigmas = sigmas.clone()
    # What they stand for matters not, only that each is there once.
    made.timesteps = torch.arange(steps)
    return made


@contextlib.contextmanager
def _drawing(made: Any, noise: Callable[..., Tensor], sigmas: Tensor, process: str) -> Iterator[None]:
    """Noise comes from ``noise``, for a scheduler that draws its own; SA-Solver's adds it where ComfyUI's does."""
    module = sys.modules[type(made).__module__]
    if not hasattr(module, "randn_tensor") or hasattr(made.config, "algorithm_type") and not _is_sa_solver(made):
        yield
        return

    def draw(*_: Any, **__: Any) -> Tensor:
        return noise()

    if _is_sa_solver(made):
        low, high = _sa_solver_range(sigmas, process)
        made.tau_func = lambda step: float(low <= sigmas[int(step) + 1] <= high)

        def draw(shape: Any, **given: Any) -> Tensor:
            # It draws in every step, and multiplies by 0 where it adds none.
            return noise() if made.tau_func(made.step_index) else torch.zeros(shape, dtype=given["dtype"])

    with mock.patch.object(module, "randn_tensor", draw):
        yield


def _is_sa_solver(made: Any) -> bool:
    return type(made).__name__ == "SASolverScheduler"


def _sa_solver_range(sigmas: Tensor, process: str) -> tuple[float, float]:
    first, last = SA_SOLVER_RANGE
    if process == "flow":
        return 1 - last, 1 - first
    highest, lowest = sigmas[0].log(), sigmas[-2].log()
    return tuple((highest + part * (lowest - highest)).exp().item() for part in (last, first))
