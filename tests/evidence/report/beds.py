"""Where starts are tried: laws of which all is known, and trained networks, pictures all of them.

    digits, cifar                    the trained networks, a label for each item
    digits-law, cifar-law            mixtures of 64 Gaussians of rank 20 each and an isotropic rest, fitted to the same
                                     pictures (k-means, then the principal components of each cluster): D, its Jacobian
                                     and exact samples are known in closed form (`lgs.starts.MixturePrior`)

The laws are fitted anew on each machine, and kept in the run's folder: their means are averages of pictures that come
without a licence.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lgs
from evidence.models.classifier import CLASSIFIERS, load_classifier
from evidence.models.data import DATA_SETS
from evidence.models.distance import features_of, frechet_distance
from evidence.models.in_precision import InPrecision, Rounded
from lgs.starts import MixturePrior

from .run import digest
from .samplers import k_diffusion, karras_sigmas
from .trained import MODELS, network_of, reference_of

COMPONENTS, RANK = 64, 20
KINDS = 10
EXACT = 5
"""Sets of exact samples, at most."""

CONVERGED, CONVERGED_STEPS = 2000, 200
"""Samples, and steps of DPM-Solver++(2M), from pictures noised to the highest level: what the network itself draws."""

Denoise = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Bed:
    """A model, what it was made from, and how far samples are from what it should draw."""

    id: str
    name: str
    shape: tuple[int, ...]
    sigma_max: float
    sigma_min: float
    labelled: bool
    denoiser: Callable[..., Denoise]
    """(labels, precision, guidance): D for items of these labels."""
    pictures: Callable[[int | None, int, int], Tensor]
    """(label or none for all, count, seed): pictures that a start may be fitted to, (count, ...)."""
    distances: Callable[[Tensor, Tensor], dict[str, float]]
    """Of samples (n, ...) of labels (n,): ``truth``, the Fréchet distance to real pictures or to exact samples, and
    what else there is."""
    exact: Callable[[int], dict[str, list[float]]]
    """Distances of sets of so many exact samples, real pictures or pictures that the network drew in the end, by
    measure: what chance leaves."""

    def sigmas(self, steps: int, sigma: float | None = None, sigma_min: float | None = None) -> Tensor:
        highest = self.sigma_max if sigma is None else sigma
        return karras_sigmas(steps, highest, self.sigma_min if sigma_min is None else sigma_min)


@functools.cache
def bed(id: str, folder: str, tuning: bool = False) -> Bed:
    """``folder``: where `prepared` kept what it needs. ``tuning``: against the half that settings are chosen on."""
    return _law(id, Path(folder), tuning) if id.endswith("-law") else _network(id, Path(folder), tuning)


def prepared(id: str, folder: Path, quick: bool = False) -> str:
    """Makes what the bed needs, unless it is there; gives what stands for it. ``quick``: next to nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    data = id.removesuffix("-law")
    if id.endswith("-law"):
        file = folder / f"{id}.safetensors"
        if not file.exists():
            images, _ = DATA_SETS[data].training()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                images = DATA_SETS[data].augmented(images)
            MixturePrior.fit(images, COMPONENTS, RANK, rounds=0).save(file)
        return digest(file, CLASSIFIERS[data].weights)
    file = folder / f"{id}-converged.pt"
    if not file.exists():
        count, steps = (200, 5) if quick else (CONVERGED, CONVERGED_STEPS)
        torch.save(_converged(id, count, steps), file)
    return digest(MODELS[data].weights, CLASSIFIERS[data].weights)


def _law(id: str, folder: Path, tuning: bool) -> Bed:
    data = id.removesuffix("-law")
    law = MixturePrior.load(folder / f"{id}.safetensors")
    classifier, model = load_classifier(data), MODELS[data]
    seed = 900 + tuning
    features = functools.partial(features_of, classifier)
    reference = features(law.sample(5000, torch.Generator().manual_seed(seed)).clamp(-1, 1))

    def denoiser(labels: Tensor, precision: str = "float32", guidance: float = 1.0) -> Denoise:
        return lambda x, sigma: law.denoised(x, float(sigma[0]))

    def distances(samples: Tensor, labels: Tensor) -> dict[str, float]:
        return {"truth": frechet_distance(reference, features(samples.clamp(-1, 1)))}

    def pictures(label: int | None, count: int, seed: int) -> Tensor:
        return law.sample(count, torch.Generator().manual_seed(10_000 + seed))

    def exact(size: int) -> dict[str, list[float]]:
        groups = (law.sample(size, torch.Generator().manual_seed(20_000 + group)) for group in range(EXACT))
        return {"truth": [frechet_distance(reference, features(group.clamp(-1, 1))) for group in groups]}

    name = {"digits": "Digits' law", "cifar": "Photographs' law"}[data]
    given = denoiser, pictures, distances, exact
    return Bed(id, name, tuple(law.shape), model.sigma_max, model.sigma_min, False, *given)


def _network(id: str, folder: Path, tuning: bool) -> Bed:
    model, data = MODELS[id], DATA_SETS[id]
    reference = reference_of(id, tuning)
    converged = torch.load(folder / f"{id}-converged.pt").float()
    # Half of them to choose by, half to report; every kind is in both.
    halves = [features_of(reference.classifier, half.clamp(-1, 1)) for half in converged.chunk(2)]
    own = halves[tuning]

    def denoiser(labels: Tensor, precision: str = "float32", guidance: float = 1.0) -> Denoise:
        return InPrecision(_in(network_of(id), precision), labels, guidance)

    def distances(samples: Tensor, labels: Tensor) -> dict[str, float]:
        samples = samples.clamp(-1, 1)
        found = reference.distances(samples, labels)
        features = features_of(reference.classifier, samples)
        return {
            "truth": found.frechet,
            "converged": frechet_distance(own, features),
            "as_requested": found.as_requested,
            "variety": found.variety,
        }

    def pictures(label: int | None, count: int, seed: int) -> Tensor:
        images, labels = _training(id)
        images = images if label is None else images[labels == label]
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]
        return images[chosen]

    def exact(size: int) -> dict[str, list[float]]:
        images, labels = (part.split(size)[:EXACT] for part in reference.real)
        real = [reference.distances(*of).frechet for of in zip(images, labels, strict=True) if len(of[0]) == size]
        both = [(one, part) for one, other in (halves, halves[::-1]) for part in other.split(size) if len(part) == size]
        return {"truth": real, "converged": [frechet_distance(*pair) for pair in both]}

    return Bed(
        id,
        model.name,
        (data.channels, 32, 32),
        model.sigma_max,
        model.sigma_min,
        True,
        denoiser,
        pictures,
        distances,
        exact,
    )


@functools.cache
def _training(id: str) -> tuple[Tensor, Tensor]:
    return DATA_SETS[id].training()


def _in(network: torch.nn.Module, precision: str) -> torch.nn.Module:
    return network if precision == "float32" else _converted(network, precision)


@functools.cache
def _converted(network: torch.nn.Module, precision: str) -> torch.nn.Module:
    return Rounded(network, getattr(torch, precision))


@torch.no_grad()
def _converged(id: str, count: int, steps: int, batch: int = 100) -> Tensor:
    """What the network draws in the end, (count, ...), float16: labels 0 to 9 again and again."""
    images, labels = _training(id)
    model, samples = MODELS[id], []
    by_kind = [images[labels == kind] for kind in range(KINDS)]
    generator = torch.Generator().manual_seed(77)
    for _ in range(count // batch):
        asked = torch.arange(batch) % KINDS
        begun = torch.stack(
            [
                by_kind[kind][int(torch.randint(len(by_kind[kind]), (1,), generator=generator))]
                for kind in asked.tolist()
            ]
        )
        x = begun + model.sigma_max * torch.randn(begun.shape, generator=generator)
        denoise = InPrecision(network_of(id), asked)
        samples.append(k_diffusion().sample_dpmpp_2m(denoise, x, model.sigmas(steps), disable=True).half())
    return torch.cat(samples)


def about(bed: Bed) -> dict[str, Any]:
    return {"name": bed.name, "sigma_max": bed.sigma_max, "labelled": bed.labelled, "lgs": lgs.info()["lgs"]}
