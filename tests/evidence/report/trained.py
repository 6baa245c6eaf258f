"""Samples of trained models against held-out pictures: every covariance, and what one would use otherwise.

Digits with the bundled model, with labels and without, and CIFAR-10; each kind of thing is requested equally
often. Without labels a model has more to decide, and its posteriors are wider.

Measured group by group, of 1,000 samples each, for error bars; few steps first, so that a run that is stopped
has the rows that matter most and cost least.
"""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import lgs
from evidence.models import learned_diagonal, weights
from evidence.models.classifier import CLASSIFIERS
from evidence.models.data import DATA_SETS
from lgs.digits import UNLABELLED, Digits, DigitUNet

from .compared import show
from .metrics import METRICS, Reference
from .run import Numbers, Run, Section, Unavailable, digest, libraries
from .samplers import RIVAL, SAMPLERS, Sampler, evaluations, karras_sigmas, present, sample, source

BATCH = 100
"""Samples that are drawn at once."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained model, whether it has labels, and the noise levels that it is sampled over."""

    name: str
    data: str
    """Of `evidence.models.data.DATA_SETS`."""
    weights: Path
    diagonal: Path
    """Its learned diagonal covariance."""
    sigma_max: float
    sigma_min: float
    labelled: bool = True
    """It is given the label of what to draw."""

    def sigmas(self, steps: int) -> Tensor:
        return karras_sigmas(steps, self.sigma_max, self.sigma_min)


MODELS = {
    "digits": Model("Digits", "digits", weights("digits"), learned_diagonal("digits"), 20.0, 0.03),
    "any-digit": Model(
        "Any digit", "digits", weights("digits"), learned_diagonal("digits"), 20.0, 0.03, labelled=False
    ),
    "cifar": Model(
        "CIFAR-10",
        "cifar",
        weights("cifar"),
        learned_diagonal("cifar"),
        40.0,
        0.03,
    ),
}
"""By what is drawn. All were trained for noise levels from 0.02 to 40."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured."""

    data: tuple[str, ...]
    steps: tuple[int, ...]
    samplers: tuple[str, ...]
    groups: int
    size: int
    """Samples in a group."""
    most_of_rivals: int = 20
    """Steps up to which the rows with `RIVAL` are measured: what they are for, and with more they would be dear."""


FULL = Plan(tuple(MODELS), (3, 5, 10, 20, 50, 100), tuple(sampler.id for sampler in SAMPLERS), groups=5, size=1000)
QUICK = Plan(("digits",), (3, 5), ("lanczos-k1", "isotropic", "ddim", "dpmpp-2m"), groups=2, size=50)


def measure(run: Run) -> Numbers:
    """Each of `METRICS` for each data set, number of steps and sampler, a value for each group."""
    plan = QUICK if run.quick else FULL
    samplers, missing = present(sampler for sampler in SAMPLERS if sampler.id in plan.samplers)
    numbers: Numbers = {"size": plan.size, "data": {}, "rows": [], "missing": missing}
    units: list[_Unit] = []
    for data in plan.data:
        try:
            numbers["data"][data] = data_set(run, plan, data)
        except Unavailable as problem:
            numbers["missing"].append({"what": MODELS[data].name, "why": str(problem)})
            continue
        for sampler in samplers:
            try:
                units += _units(plan, data, sampler)
            except Unavailable as problem:
                numbers["missing"].append({"what": f"{sampler.name} ({MODELS[data].name})", "why": str(problem)})
    if not numbers["data"]:
        raise Unavailable("; ".join(f"{one['what']}: {one['why']}" for one in numbers["missing"]))
    units.sort(key=lambda unit: (unit.steps, plan.data.index(unit.data), unit.group))
    _measure(run, units, numbers)
    return numbers


@dataclasses.dataclass(frozen=True)
class _Unit:
    """What is measured in one go, and kept."""

    data: str
    steps: int
    group: int
    sampler: Sampler
    arguments: tuple[Any, ...]
    """Of `measured_group`."""
    evaluations: float
    """Of all of its batches."""


def fingerprint_of(data: str, sampler: Sampler) -> str:
    """Stands for the files on which the sampler's samples, and what they are measured by, depend."""
    model, files = MODELS[data], [MODELS[data].weights, CLASSIFIERS[MODELS[data].data].weights]
    if sampler.options.get("covariance") == "diagonal-learned":
        if not model.diagonal.exists():
            raise Unavailable(f"none was trained for this model ({model.diagonal.name})")
        files.append(model.diagonal)
    if sampler.solver == "lgs":
        files += libraries()
    # Of another version another sampler.
    return f"{digest(*files)} {source(sampler)}" if sampler.solver == RIVAL else digest(*files)


def _units(plan: Plan, data: str, sampler: Sampler) -> list[_Unit]:
    model, fingerprint, units = MODELS[data], fingerprint_of(data, sampler), []
    for steps in plan.steps:
        if sampler.solver == RIVAL and steps > plan.most_of_rivals:
            continue
        batches = plan.size / BATCH
        cost = batches * evaluations(sampler.solver, sampler.options, model.sigmas(steps))
        for group in range(plan.groups):
            arguments = (data, sampler.solver, dict(sampler.options), steps, group, plan.size, fingerprint)
            units.append(_Unit(data, steps, group, sampler, arguments, cost))
    return units


def _measure(run: Run, units: list[_Unit], numbers: Numbers) -> None:
    """Fills ``numbers["rows"]``."""
    function, rows = run.cached(measured_group), {}
    known = [function.check_call_in_cache(*unit.arguments) for unit in units]
    price = {data: _seconds_of_an_evaluation(data) for data in numbers["data"]}
    total = sum(price[unit.data] * unit.evaluations for unit, done in zip(units, known, strict=True) if not done)
    prices = ", ".join(f"{1000 * seconds:.0f} ms for {BATCH} {MODELS[data].name}" for data, seconds in price.items())
    print(f"{len(units)} groups, {sum(known)} of them known; the others take about {_duration(total)} ({prices})")
    with tqdm(total=total, bar_format="{desc}{percentage:3.0f} %|{bar}| {elapsed} < {remaining}") as bar:
        for number, (unit, done) in enumerate(zip(units, known, strict=True)):
            bar.set_description(f"{MODELS[unit.data].name}, {unit.steps} steps, {unit.sampler.name}, {unit.group + 1}")
            found = function(*unit.arguments)
            key = unit.data, unit.steps, unit.sampler.id
            if key not in rows:
                rows[key] = _row(unit, found["evaluations"])
                numbers["rows"].append(rows[key])
            for metric, value in found["metrics"].items():
                rows[key]["groups"][metric].append(value)
            if done:
                continue
            bar.update(price[unit.data] * unit.evaluations)
            following = units[number + 1] if number + 1 < len(units) else unit
            if (following.data, following.steps, following.group) != (unit.data, unit.steps, unit.group):
                run.so_far(numbers)


def _row(unit: _Unit, evaluations: float) -> dict[str, Any]:
    sampler = unit.sampler
    return {
        "data": unit.data,
        "steps": unit.steps,
        "id": sampler.id,
        "name": sampler.name,
        "family": sampler.family,
        "source": source(sampler),
        "evaluations": evaluations,
        "groups": {metric: [] for metric in METRICS},
    }


def measured_group(
    data: str,
    solver: str,
    options: Mapping[str, Any],
    steps: int,
    group: int,
    size: int,
    fingerprint: str,
    tuning: bool = False,
) -> dict[str, Any]:
    """`METRICS` of one group of samples, and the model evaluations that a trajectory took.

    ``fingerprint`` is `fingerprint_of` the sampler. ``tuning``: against the half that settings are tuned on.
    """
    model, reference = MODELS[data], reference_of(data, tuning)
    images, taken = [], set()
    for number, labels in enumerate(_labels(size).split(BATCH)):
        if not model.labelled:
            labels = torch.full_like(labels, UNLABELLED)
        noise = _noise(_seed(group, number), (len(labels), DATA_SETS[model.data].channels, 32, 32))
        learned = None
        if options.get("covariance") == "diagonal-learned":
            learned = lgs.load_diagonal(model.diagonal, labels)
        denoise = Digits(network_of(data), labels)
        samples, count = sample(solver, options, denoise, model.sigmas(steps), noise, learned)
        images.append(samples)
        taken.add(count)
    told = _labels(size) if model.labelled else None
    return {"evaluations": max(taken), "metrics": reference.measure(torch.cat(images), told)}


def measured_real(data: str, size: int, most: int, fingerprint: str) -> dict[str, list[float]]:
    """`METRICS` of up to ``most`` groups of real pictures from the half that is not the reference."""
    reference = reference_of(data)
    images, labels = (part.split(size)[:most] for part in reference.real)
    groups = [reference.measure(*group) for group in zip(images, labels, strict=True) if len(group[1]) == size]
    return {metric: [group[metric] for group in groups] for metric in METRICS}


def data_set(run: Run, plan: Plan, data: str) -> dict[str, Any]:
    """What the samples of this data set are measured against; raises `Unavailable` if there is none."""
    model = MODELS[data]
    if not model.weights.exists():
        raise Unavailable(f"{model.weights}: expected the trained model; train it with models.train_denoiser")
    try:
        reference = reference_of(data)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as problem:
        raise Unavailable(f"its pictures are not available: {problem}") from problem
    real = run.cached(measured_real)(data, plan.size, plan.groups, digest(CLASSIFIERS[model.data].weights))
    return {"name": model.name, "reference": len(reference.reference), "real": real}


def reference_of(data: str, tuning: bool = False) -> Reference:
    return _reference_of(MODELS[data].data, tuning)


@functools.cache
def _reference_of(pictures: str, tuning: bool) -> Reference:
    return Reference(pictures, tuning=tuning)


@functools.cache
def network_of(data: str) -> DigitUNet:
    return DATA_SETS[MODELS[data].data].trained(MODELS[data].weights)


def _labels(size: int) -> Tensor:
    """What is asked for: 0 to 9, again and again."""
    return torch.arange(size) % 10


def _seed(group: int, batch: int) -> int:
    # torch's CPU generator takes 32 bits of its seed.
    return int(np.random.SeedSequence([group, batch]).generate_state(1)[0])


def _noise(seed: int, shape: tuple[int, ...]) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *_: torch.randn(shape, generator=generator)


@torch.no_grad()
def _seconds_of_an_evaluation(data: str) -> float:
    """Of a batch; the shortest of three, as the first is slow."""
    denoise = Digits(network_of(data), _labels(BATCH))
    x, sigma = torch.zeros(BATCH, DATA_SETS[MODELS[data].data].channels, 32, 32), torch.ones(BATCH)

    def seconds() -> float:
        start = time.perf_counter()
        denoise(x, sigma)
        return time.perf_counter() - start

    return min(seconds() for _ in range(3))


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


SECTION = Section(
    id="trained",
    title="Samples of trained models, against held-out pictures",
    question="With a trained model, in a few steps: does the full covariance give better samples than cheaper "
    "covariances, and than the solvers one would use otherwise, at the same number of model evaluations?",
    measure=measure,
    show=show,
    remarks=(
        "At equal steps the full covariance is far ahead of every other covariance on photographs, and on digits "
        "in few steps. On digits in more steps it is level with isotropic noise, and then behind it.",
        "In many steps the covariance makes little difference. On photographs the full covariance reaches the "
        "limit of the network in few steps, isotropic noise barely in the most that were taken. Distances below "
        "that limit are no better sampling: there the error of the sampler offsets that of the network. On digits "
        "η decides where a sampler ends: noise corrects what an inexact network does.",
        "K = 3 is no better than K = 1 on trained models, and worse in few steps, at three times the price.",
        "At equal evaluations DPM-Solver++(2M) is ahead on photographs in few evaluations; on digits its SDE is, "
        "and in more evaluations Euler ancestral.",
    ),
)
