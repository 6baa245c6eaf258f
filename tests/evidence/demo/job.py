"""The batch job: the same digits, from the same noise, with each of several samplers."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import lgs
from evidence import rivals
from evidence.rivals import RIVALS
from lgs.digits import SIZE, UNLABELLED, Digits, DigitUNet

SIGMA_MAX, SIGMA_MIN, RHO = 20.0, 0.03, 7.0


BESIDE = ("dpmpp_2m", "dpmpp_2m_sde", "uni_pc")
"""Rivals that every machine has, in as many evaluations as the node's defaults take; Euler ancestral is the isotropic
covariance at eta 1."""


@dataclasses.dataclass(frozen=True)
class Sampler:
    """One way of sampling, a row of the demo's table."""

    id: str
    name: str
    steps: int
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """`lgs.Options`, but for how products are had."""
    any_digit: bool = False
    """The model is given no label."""
    rival: str = ""
    """An id of `evidence.rivals.RIVALS`, of which the options say nothing."""

    @property
    def title(self) -> str:
        return f"{self.name}, any digit" if self.any_digit else self.name

    @property
    def eta(self) -> str:
        """In words; empty for a rival, which has its own."""
        return "" if self.rival else f"{self._options.eta:g}"

    @property
    def settings(self) -> str:
        """In words: ``eta 1, 10 steps``."""
        return ", ".join([f"eta {self.eta}"] * bool(self.eta) + [f"{self.steps} steps"])

    def asked(self, labels: Tensor) -> Tensor:
        """The labels that the model is given where ``labels`` are the digits of the batch."""
        return torch.full_like(labels, UNLABELLED) if self.any_digit else labels

    @property
    def evaluations(self) -> int:
        """Model evaluations that a trajectory should take: one a step and one a JVP."""
        if self.rival:
            return rivals.evaluations(self.rival, self.steps)
        return self.steps + self.jvps

    @property
    def jvps(self) -> int:
        """Jacobian-vector products that it should take: none in the last step, nor outside the two sigmas."""
        return sum(self.jvps_at(sigma) for sigma in karras_sigmas(self.steps)[:-2].tolist())

    def jvps_at(self, sigma: float) -> int:
        """The same for a step that starts at ``sigma`` and is not the last."""
        if self.rival:
            return 0
        options = self._options
        within = options.covariance_min_sigma <= sigma <= options.covariance_max_sigma
        return options.products if within else 0

    @functools.cached_property
    def _options(self) -> lgs.Options:
        return lgs.Options(**self.options)


def samplers(steps: int, eta: float) -> tuple[Sampler, ...]:
    """What the demo compares: the samplers of interest in ``steps`` reverse steps, and references.

    With a label the model has little left to decide; without one a step's posterior is
    wide, and its covariance matters most.
    """
    isotropic = {"covariance": "isotropic", "eta": eta}
    one, two, three = ({"covariance": "lanczos", "eta": eta, "lanczos_steps": jvps} for jvps in (1, 2, 3))
    # The node knows by itself that there is no picture beneath the noise.
    shipped = lgs.Options.recommended(pure_noise=True).as_dict()
    in_part = lgs.Options.recommended(solver="ancestral", eta=0.5).as_dict()
    k2 = Sampler("lgs-k2", "LGS, K = 2", steps, two)
    return (
        Sampler("isotropic", "Isotropic", steps, isotropic),
        Sampler("lgs-shipped", "LGS, node defaults", steps, shipped),
        *(Sampler(id.replace("_", "-"), RIVALS[id].name, steps, rival=id) for id in BESIDE),
        Sampler("lgs-in-part", "LGS, Lanczos in part", steps, in_part),
        Sampler("lgs-k1", "LGS, K = 1", steps, one),
        k2,
        Sampler("lgs-k3", "LGS, K = 3", steps, three),
        Sampler("lgs-high", "LGS, K = 2, σ ≥ 3", steps, two | {"covariance_min_sigma": 3.0}),
        Sampler("ddim", "DDIM", steps, isotropic | {"eta": 0.0}),
        # What the same number of evaluations buys when it is spent on more steps.
        Sampler("isotropic-more-steps", "Isotropic", k2.evaluations, isotropic),
        Sampler("any-isotropic", "Isotropic", steps, isotropic, any_digit=True),
        Sampler("any-lgs-shipped", "LGS, node defaults", steps, shipped, any_digit=True),
        Sampler("any-lgs-k2", "LGS, K = 2", steps, two, any_digit=True),
    )


@dataclasses.dataclass
class Result:
    """What one sampler made, and what it cost."""

    sampler: Sampler
    images: Tensor
    """(n, 1, 32, 32) in [-1, 1]: 0 to 9, again and again."""
    model_evaluations: int
    """Of one trajectory; a batch of images is evaluated at once."""
    jvps: int
    """Jacobian-vector products of one trajectory."""
    seconds: float
    """For all of the images."""


def karras_sigmas(steps: int) -> Tensor:
    """``steps`` noise levels from 20 to 0.03, then 0 (arXiv 2206.00364, equation 5)."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return torch.cat([(high + ramp * (low - high)) ** RHO, torch.zeros(1, dtype=torch.float64)]).float()


def labels(per_digit: int) -> Tensor:
    """Integer labels (10 * per_digit,): 0 to 9, again and again."""
    return torch.arange(10).repeat(per_digit)


def run(unet: DigitUNet, samplers: tuple[Sampler, ...], *, per_digit: int, jvp: str, seed: int) -> list[Result]:
    """Every digit ``per_digit`` times with each of the samplers, with a progress bar.

    Batch by batch, each sampler in turn: so all samplers are timed under the same conditions.
    """
    results = [Result(sampler, torch.empty(0, 1, SIZE, SIZE), 0, 0, 0.0) for sampler in samplers]
    batches = labels(per_digit).tensor_split(-(-per_digit // 10))
    # The first call is slow, through no fault of the sampler whose turn it is.
    Digits(unet, labels(1))(torch.zeros(10, 1, SIZE, SIZE), torch.full((10,), SIGMA_MAX))
    total = len(batches) * sum(sampler.evaluations for sampler in samplers)
    with tqdm(total=total, unit=" evaluations", dynamic_ncols=True) as progress:
        for number, batch in enumerate(batches):
            for result in results:
                progress.set_description(f"{result.sampler.title}, {result.sampler.settings}")
                _run_batch(result, unet, batch, jvp, _seed(seed, number), progress)
    return results


def _seed(seed: int, batch: int) -> int:
    # torch's CPU generator takes 32 bits of its seed.
    return int(np.random.SeedSequence([seed, batch]).generate_state(1)[0])


def _run_batch(result: Result, unet: DigitUNet, batch: Tensor, jvp: str, seed: int, progress: tqdm) -> None:
    # One generator, from the same seed for each sampler: it draws the initial noise, then one
    # draw a step, so that samplers differ in what they do with the noise and in nothing else.
    generator = torch.Generator().manual_seed(seed)

    def draw(*_sigmas) -> Tensor:
        return torch.randn(len(batch), 1, SIZE, SIZE, generator=generator)

    def on_step(step: dict) -> None:
        result.jvps = step["jvps"]

    digits = Digits(unet, result.sampler.asked(batch))
    taken = 0

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal taken
        taken += len(x) // len(batch)
        progress.update(len(x) // len(batch))
        return digits(x, sigma)

    sigmas = karras_sigmas(result.sampler.steps)
    x = draw() * sigmas[0]
    start = time.perf_counter()
    if result.sampler.rival:
        images = rivals.sample(result.sampler.rival, denoise, x, sigmas, draw)
    else:
        options = lgs.Options(**result.sampler.options | {"jvp": jvp})
        images = lgs.sample(denoise, x, sigmas, options, noise=draw, callback=on_step)
    result.model_evaluations = taken
    result.seconds += time.perf_counter() - start
    result.images = torch.cat([result.images, images.clamp(-1, 1)])
