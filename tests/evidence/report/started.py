"""One group of samples with a start: fitted, compared with the model, begun with, measured."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

import lgs
from evidence import rivals
from lgs.starts import Divergence, FlowPrior, MixturePrior, Start, divergence, levels

from . import beds
from .samplers import SECANT, SHIPPED, Counted, evaluations, k_diffusion

BATCH = 100

OWN = {sampler.id: sampler.options for sampler in (SHIPPED, SECANT)}
"""The product's options, by the solver's name here."""

Begun = dict[int | None, tuple[Start | None, float | None]]
"""Of each kind of items, the start and the level sigma at which it begins; none where there is none."""


def measured_group(
    bed: str,
    folder: str,
    solver: str,
    budget: int,
    start: Mapping[str, Any] | None,
    group: int,
    size: int,
    fingerprint: str,
    version: str,
    precision: str = "float32",
    guidance: float = 1.0,
    sigma_min: float | None = None,
    tuning: bool = False,
) -> dict[str, Any]:
    """Distances of one group of samples; ``about``: evaluations of a trajectory, and the level of each kind's start."""
    of = beds.bed(bed, folder, tuning)
    labels = torch.arange(size) % beds.KINDS
    noise = _noise(of, size, group, tuning)
    steps = steps_within(solver, budget)
    begun = _begun(of, start, steps, group, precision, guidance)
    denoiser = functools.partial(of.denoiser, precision=precision, guidance=guidance)
    latents = getattr(torch, precision)
    samples, taken = _drawn(of, begun, labels, noise, steps, solver, denoiser, sigma_min, group, latents)
    at = [level for _, level in begun.values()]
    return of.distances(samples, labels) | {"about": {"evaluations": taken, "levels": at}}


def memorised(
    bed: str, folder: str, budget: int, start: Mapping[str, Any], group: int, size: int, fingerprint: str, version: str
) -> dict[str, float]:
    """Of samples, the share whose nearest picture, among those that the start of its kind was fitted to and as many
    others, is one of the former: a half by chance. ``with`` the start, and ``without``."""
    of = beds.bed(bed, folder)
    labels = torch.arange(size) % beds.KINDS
    noise = _noise(of, size, group)
    begun = _begun(of, start, budget, group)
    found = {}
    for name, taken in (("with", begun), ("without", dict.fromkeys(begun, (None, None)))):
        samples, _ = _drawn(of, taken, labels, noise, budget)
        hits = 0
        for kind in taken:
            both = of.pictures(kind, 2 * start["count"], _seed(group, kind)).flatten(1)
            of_kind = samples[labels == kind].flatten(1)
            fitted, others = (torch.cdist(of_kind, half).amin(dim=1) for half in both.split(start["count"]))
            hits += int((fitted < others).sum())
        found[name] = hits / size
    return found


def seed_kept(
    bed: str,
    folder: str,
    steps: int,
    start: Mapping[str, Any] | None,
    group: int,
    size: int,
    fingerprint: str,
    version: str,
) -> float:
    """Root mean square, per number, between what a noise draws with a start and without; with no start given, between
    what two noises draw for the same label."""
    of = beds.bed(bed, folder)
    labels = torch.arange(size) % beds.KINDS
    noise = _noise(of, size, group)
    without, _ = _drawn(of, _begun(of, None, steps, group), labels, noise, steps)
    if start is None:
        other = without.roll(beds.KINDS, dims=0)
    else:
        other, _ = _drawn(of, _begun(of, start, steps, group), labels, noise, steps)
    return (without - other).square().mean().sqrt().item()


def steps_within(solver: str, budget: int) -> int:
    """The most steps with which a trajectory takes at most so many evaluations."""
    if solver in rivals.RIVALS:
        counted = functools.partial(rivals.evaluations, solver)
    else:
        given = ("lgs", OWN[solver]) if solver in OWN else (solver, {})
        counted = lambda steps: evaluations(  # noqa: E731
            *given, torch.cat([torch.logspace(1.0, -1.5, steps), torch.zeros(1)])
        )
    return next(steps for steps in range(budget, 0, -1) if counted(steps) <= budget)


def _noise(of: beds.Bed, size: int, group: int, tuning: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(1_000_003 * (1 + tuning) + group)
    return torch.randn(size, *of.shape, generator=generator)


def _drawn(
    of: beds.Bed,
    begun: Begun,
    labels: Tensor,
    noise: Tensor,
    steps: int,
    solver: str = "sample_dpmpp_2m",
    denoiser: Callable[..., Any] | None = None,
    sigma_min: float | None = None,
    seed: int = 0,
    latents: torch.dtype = torch.float32,
) -> tuple[Tensor, float]:
    """What the solver makes of noise (n, ...), and the evaluations of a trajectory. ``seed``: of its own noise."""
    samples, taken = torch.empty_like(noise), 0.0
    generator = torch.Generator().manual_seed(seed)
    for kind, (prior, level) in begun.items():
        chosen = (labels == kind if kind is not None else labels >= 0).nonzero().flatten()
        sigmas = of.sigmas(steps, level, sigma_min)
        for part in chosen.split(BATCH):
            model = Counted((denoiser or of.denoiser)(labels[part]), len(part))
            # Where hosts begin, unless there is a start.
            pure = prior is None or level is None
            x = noise[part] * of.sigma_max if pure else prior.begin(noise[part], level)
            draw = functools.partial(torch.randn, x.shape, generator=generator)
            drawn = _solved(solver, model, x.to(latents), sigmas, lambda *_, draw=draw: draw(), pure)
            samples[part] = drawn.to(samples.dtype)
            taken = model.evaluations
    return samples, taken


@torch.no_grad()
def _solved(solver: str, model: Any, x: Tensor, sigmas: Tensor, noise: Any, pure: bool) -> Tensor:
    if solver in OWN:
        told = {"pure_noise": pure} if solver == SECANT.id else {}
        return lgs.sample(model, x, sigmas, OWN[solver] | told, noise=noise)
    if solver in rivals.RIVALS:
        return rivals.sample(solver, model, x, sigmas, noise)
    return getattr(k_diffusion(), solver)(model, x, sigmas, disable=True)


def _begun(
    of: beds.Bed,
    start: Mapping[str, Any] | None,
    steps: int,
    group: int,
    precision: str = "float32",
    guidance: float = 1.0,
) -> Begun:
    """For items of each kind the start and the level sigma at which it begins; none where it would hurt. The level is
    told the steps, as *LGS Start* tells it."""
    kinds = range(beds.KINDS) if of.labelled else (None,)
    if start is None:
        return dict.fromkeys(kinds, (None, None))
    how = {name: value for name, value in start.items() if name not in ("level", "allowed", "for_all")}
    begun = {}
    for kind in kinds:
        told = None if start.get("for_all") else kind
        prior, found = _prior(of, json.dumps(how, sort_keys=True), told, group, precision, guidance)
        level = start["level"] if "level" in start else found.level(steps, start.get("allowed", levels.ALLOWED))
        begun[kind] = prior, level
    return begun


def _seed(group: int, kind: int | None) -> int:
    return 1000 * group + (0 if kind is None else kind)


@functools.lru_cache(maxsize=256)
def _prior(
    of: beds.Bed, how: str, told: int | None, group: int, precision: str, guidance: float
) -> tuple[Start, Divergence]:
    start, seed = json.loads(how), _seed(group, told)

    @torch.no_grad()
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        asked = torch.arange(len(x)) % beds.KINDS if told is None else torch.full((len(x),), told)
        return of.denoiser(asked, precision, guidance)(x, sigma)

    generator = torch.Generator().manual_seed(seed)
    compared = levels.LEVELS
    if start["from"] == "pictures":
        pictures = of.pictures(told, start["count"], seed).split(500)
        prior: Start = lgs.GaussianPrior.fit(pictures, start["rank"])
    elif start["from"] == "mixture":
        prior = MixturePrior.fit(of.pictures(told, start["count"], seed), start["components"], start["rank"])
    elif start["from"] == "flow":
        prior = _flow(of, start["rank"], start["count"], group)
        if told is not None:
            prior = prior.with_context(torch.eye(beds.KINDS)[told])
    else:
        fitted, compared = levels.shared(start["evaluations"])
        prior = lgs.GaussianPrior.from_model(
            denoise, of.shape, of.sigma_max, evaluations=fitted, batch=32, generator=generator
        )
    return prior, divergence(prior, denoise, of.sigma_max, levels=compared, generator=generator)


@functools.lru_cache(maxsize=8)
def _flow(of: beds.Bed, rank: int, count: int, group: int) -> FlowPrior:
    """One for all kinds, which are its context; ``count`` pictures of each."""
    pictures = [of.pictures(kind, count, _seed(group, kind)) for kind in range(beds.KINDS)]
    contexts = [torch.eye(beds.KINDS)[kind].expand(len(part), -1) for kind, part in enumerate(pictures)]
    # Mixed: one in ten is held out.
    order = torch.randperm(sum(map(len, pictures)), generator=torch.Generator().manual_seed(group))
    return FlowPrior.fit(
        torch.cat(pictures)[order].split(500),
        rank,
        levels=(1.0, of.sigma_max),
        context=torch.cat(contexts)[order],
        seed=group,
    )
