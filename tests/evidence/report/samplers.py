"""The samplers that the report compares: every covariance of the product, and what one would use otherwise.

The product's go through `lgs.sample`. The others are other people's; none is written anew. Five are those of the
PyPI package ``k-diffusion``, which ComfyUI's come from:

    sample_euler_ancestral   DDPM's ancestral step (the same kernel as ``covariance="isotropic"``)
    sample_euler             DDIM (arXiv 2010.02502), as it reads for a variance-exploding process
    sample_heun              Karras et al. (arXiv 2206.00364), algorithm 2
    sample_dpmpp_2m          DPM-Solver++(2M) (arXiv 2211.01095)
    sample_dpmpp_2m_sde      its stochastic version

The rest is `evidence.rivals`: ComfyUI's own where COMFYUI_PATH names a checkout of it, else diffusers', and what
neither has is missing, by name.

aDDIM (arXiv 2403.06807), which lengthens DDIM's steps by the variance of the posterior, is missing: it is in
neither k-diffusion nor diffusers, and no package on PyPI has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

import lgs
from evidence import rivals
from evidence.rivals import DETERMINISTIC, RIVALS, STOCHASTIC
from evidence.rivals.k_diffusion import sampling as k_diffusion

from .run import Unavailable

RHO = 7.0

FULL, CHEAP = "full covariance", "cheaper covariances"
FAMILIES = (FULL, CHEAP, STOCHASTIC, DETERMINISTIC)


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A way of sampling: what does it, and with which options."""

    id: str
    name: str
    family: str
    """One of `FAMILIES`."""
    solver: str
    """``"lgs"``, the name of a function of ``k_diffusion.sampling``, or `RIVAL`."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """`lgs.Options`, what the function takes by name, or ``{"rival": ...}``, an id of `evidence.rivals.RIVALS`."""


RIVAL = "rival"

_MAIN = ("euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde")
"""Rivals that have a row as a function of k-diffusion."""


def covariance(id: str, name: str, family: str = CHEAP, **options: Any) -> Sampler:
    """One of the product's; products with J by finite differences, the cheapest way on a CPU."""
    return Sampler(id, name, family, "lgs", {"jvp": "finite-difference"} | options)


SHIPPED = covariance(
    "lgs",
    "LGS, Lanczos in part",
    FULL,
    covariance="lanczos",
    lanczos_steps=1,
    covariance_min_sigma=0.5,
    covariance_max_sigma=10.0,
    eta=0.5,
    other_steps="multistep",
)
"""The node's settings for its mode lanczos, with eta 0.5."""

SECANT = Sampler("secant", "LGS, secant", FULL, "lgs", {"solver": "secant", "eta": 0.0})
"""The node's defaults."""

SAMPLERS = (
    covariance("lanczos-k1", "LGS, K = 1, η = 1", FULL, covariance="lanczos", lanczos_steps=1),
    covariance("lanczos-k3", "LGS, K = 3, η = 1", FULL, covariance="lanczos", lanczos_steps=3),
    covariance("lanczos-k1-half", "LGS, K = 1, η = 0.5", FULL, covariance="lanczos", lanczos_steps=1, eta=0.5),
    SECANT,
    SHIPPED,
    covariance("isotropic", "isotropic", covariance="isotropic"),
    covariance("isotropic-large", "isotropic, larger", covariance="isotropic-large"),
    covariance("isotropic-optimal", "isotropic, optimal, 1 probe", covariance="isotropic-optimal", probes=1),
    covariance("diagonal", "diagonal, 1 probe", covariance="diagonal", probes=1),
    covariance("diagonal-learned", "diagonal, learned", covariance="diagonal-learned"),
    covariance("spectral", "spectral, 1 probe", covariance="spectral", probes=1),
    Sampler("euler-ancestral", "Euler ancestral", STOCHASTIC, "sample_euler_ancestral"),
    Sampler("dpmpp-2m-sde", "DPM-Solver++(2M) SDE", STOCHASTIC, "sample_dpmpp_2m_sde"),
    Sampler("ddim", "DDIM", DETERMINISTIC, "sample_euler"),
    Sampler("heun", "Heun", DETERMINISTIC, "sample_heun"),
    Sampler("dpmpp-2m", "DPM-Solver++(2M)", DETERMINISTIC, "sample_dpmpp_2m"),
    *(
        Sampler(rival.id.replace("_", "-"), rival.name, rival.family, RIVAL, {"rival": rival.id})
        for rival in RIVALS.values()
        if rival.id not in _MAIN
    ),
)

_OWN_NOISE = {"sample_euler_ancestral", "sample_dpmpp_2m_sde"}
"""Functions of k-diffusion that take a noise sampler."""


def karras_sigmas(steps: int, sigma_max: float, sigma_min: float) -> Tensor:
    """``steps`` noise levels that fall from ``sigma_max`` to ``sigma_min``, then 0 (arXiv 2206.00364, equation 5)."""
    return k_diffusion().get_sigmas_karras(steps, sigma_min, sigma_max, RHO)


def source(sampler: Sampler) -> str:
    """Where the sampler comes from, with the version; raises `Unavailable` if from nowhere on this machine."""
    if sampler.solver == "lgs":
        return f"lgs {lgs.info()['lgs']}"
    if sampler.solver != RIVAL:
        return rivals.label("k-diffusion")
    try:
        return rivals.source(sampler.options["rival"])
    except (rivals.Missing, FileNotFoundError) as problem:
        raise Unavailable(str(problem)) from problem


def present(samplers: Iterable[Sampler]) -> tuple[list[Sampler], list[dict[str, str]]]:
    """Those that this machine has, and of each of the others what it is and why it is missing."""
    found, missing = [], []
    for sampler in samplers:
        try:
            source(sampler)
            found.append(sampler)
        except Unavailable as problem:
            missing.append({"what": sampler.name, "why": str(problem)})
    return found, missing


def sample(
    solver: str,
    options: Mapping[str, Any],
    denoise: Callable[[Tensor, Tensor], Tensor],
    sigmas: Tensor,
    noise: Callable[..., Tensor],
    diagonal: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, float]:
    """Samples, and the model evaluations that a trajectory took: as many as were counted, a batch at once.

    ``solver`` and ``options`` are a `Sampler`'s. ``noise(*_)`` gives standard normal noise (batch, ...): first
    that of the start, then one draw for each step that adds noise, so that samplers differ in what they do
    with it and in nothing else. ``diagonal`` is for ``covariance="diagonal-learned"``.
    """
    start = noise() * sigmas[0]
    counted = Counted(denoise, len(start))
    if solver == "lgs":
        learned = {} if diagonal is None else {"diagonal": diagonal}
        samples = lgs.sample(counted, start, sigmas, options, noise=noise, **learned)
    elif solver == RIVAL:
        samples = rivals.sample(options["rival"], counted, start, sigmas, noise)
    else:
        own = {"noise_sampler": noise} if solver in _OWN_NOISE else {}
        samples = getattr(k_diffusion(), solver)(counted, start, sigmas, disable=True, **own, **options)
    return samples, counted.evaluations


class Counted:
    """A denoiser that counts: evaluations of the batch, of which a call may hold several."""

    def __init__(self, denoise: Callable[[Tensor, Tensor], Tensor], batch: int):
        self.denoise = denoise
        self.batch = batch
        self.evaluations = 0.0

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.evaluations += len(x) / self.batch
        return self.denoise(x, sigma)


def evaluations(solver: str, options: Mapping[str, Any], sigmas: Tensor) -> float:
    """The model evaluations that a trajectory takes, counted on a tiny model: pure noise of variance 1/4."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + 4 * sigma[:, None, None, None] ** 2)

    def noise(*_) -> Tensor:
        return torch.ones(1, 1, 4, 4)

    def diagonal(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(torch.ones_like(x), sigma)

    learned = diagonal if options.get("covariance") == "diagonal-learned" else None
    return sample(solver, options, denoise, sigmas, noise, learned)[1]
