"""How far a set of pictures is from the held-out real ones, in a classifier's features.

    held_out = HeldOut()
    held_out.distances(images, labels)

The two distances are torchmetrics' implementations of FID (Heusel et al., arXiv 1706.08500) and KID
(Binkowski et al., arXiv 1801.01401), given the features of `evidence.models.classifier` in place of an
Inception network's, in float64. Numbers are comparable with each other, not with published FIDs.

Both depend on how many images there are: the Frechet distance of n images is biased upwards by about
a constant over n. Compare only sets of the same size; `HeldOut.real` gives real pictures as such a set.
"""

from __future__ import annotations

import dataclasses
import warnings

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from .classifier import Classifier, load_classifier
from .data import DATA_SETS, Labelled

KERNEL_SUBSETS, KERNEL_SUBSET_SIZE = 20, 1000
"""The kernel distance is a mean over this many random subsets, of at most this many images."""


@dataclasses.dataclass(frozen=True)
class Distances:
    """What `HeldOut.distances` measures."""

    frechet: float
    """Frechet distance between Gaussians fitted to both sets' features (squared, as FID is)."""
    kernel: float
    """Unbiased squared maximum mean discrepancy, cubic kernel. Around zero, negative too, if equal."""
    as_requested: float | None
    """Share of the images that the classifier takes for the requested kind, if one was requested."""
    variety: float | None
    """Variance of the pixels among images of one kind, real ones' being 1, if two or more of each were asked for."""
    images: int
    """How many images were compared..."""
    reference: int
    """...with how many held-out ones."""


class HeldOut:
    """The held-out real pictures of a data set: a reference to measure against, and a set aside.

    ``aside`` of them (the same number of each kind, drawn at random) are left out of the reference, so
    that real pictures can be measured like generated ones: the distance that a perfect sampler would get.
    """

    def __init__(self, aside: int = 1000, data: str = "digits", *, swapped: bool = False):
        """``swapped``: the two parts in each other's place."""
        parts = set_aside(*DATA_SETS[data].held_out(), aside)
        self.real, self.others = reversed(parts) if swapped else parts
        """Images (n, channels, 32, 32) and labels (n,): what was set aside, and the rest."""
        self.classifier = load_classifier(data)
        self.reference = self._features(self.others[0])
        """Features of the rest, float64."""
        self._variance = _variance_within(*self.others)

    def distances(self, images: Tensor, labels: Tensor | None) -> Distances:
        """Distances of images (n, channels, 32, 32), n at least 2, asked for as labels (n,), or none."""
        if len(images) < 2 or (labels is not None and len(images) != len(labels)):
            count = "no labels" if labels is None else f"{len(labels)} labels"
            raise ValueError(f"expected at least 2 images and a label for each, got {len(images)} images and {count}")
        # Clamped because an image file is: what lies outside black and white cannot be seen.
        images = images.clamp(-1, 1)
        features = self._features(images)
        read = self.classifier.head(features.to(images.dtype)).argmax(dim=1)
        return Distances(
            frechet=frechet_distance(self.reference, features),
            kernel=kernel_distance(self.reference, features),
            as_requested=None if labels is None else (read == labels).double().mean().item(),
            variety=self._variety(images, labels),
            images=len(features),
            reference=len(self.reference),
        )

    def _variety(self, images: Tensor, labels: Tensor | None) -> float | None:
        if labels is None or labels.bincount(minlength=10).min() < 2:
            return None
        return _variance_within(images, labels) / self._variance

    def _features(self, images: Tensor) -> Tensor:
        return features_of(self.classifier, images)


def set_aside(images: Tensor, labels: Tensor, aside: int) -> tuple[Labelled, Labelled]:
    """Pictures with their labels in two: ``aside`` of them, and the rest; the same number of each kind in both.

    Always the same ones; in both parts 0 to 9, again and again. There are as many of each kind.
    """
    if aside % 10 or not 0 <= aside <= len(images) // 2:
        raise ValueError(f"aside: expected a multiple of 10 from 0 to {len(images) // 2}, got {aside}")
    # By chance, not in their order: neighbours in MNIST were written by the same people.
    shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    by_kind = torch.stack([shuffled[labels[shuffled] == kind] for kind in range(10)], dim=1)
    apart, rest = by_kind[: aside // 10].flatten(), by_kind[aside // 10 :].flatten()
    return (images[apart], labels[apart]), (images[rest], labels[rest])


@torch.no_grad()
def features_of(classifier: Classifier, images: Tensor) -> Tensor:
    """Features (n, width), float64, of images (n, channels, 32, 32)."""
    return torch.cat([classifier.features(part) for part in images.split(500)]).double()


def _variance_within(images: Tensor, labels: Tensor) -> float:
    """Unbiased variance of a pixel among images of the same kind, mean over pixels and kinds."""
    return torch.stack([images[labels == kind].var(dim=0).mean() for kind in range(10)]).mean().item()


class _Given(nn.Identity):
    """What torchmetrics takes for the network: the features are computed once, beforehand."""

    def __init__(self, width: int):
        super().__init__()
        self.num_features = width


def frechet_distance(reference: Tensor, features: Tensor) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two sets of features (n, d), (n', d) in float64."""
    return _compute(FrechetInceptionDistance(_Given(features.shape[1])), reference, features).item()


def kernel_distance(reference: Tensor, features: Tensor) -> float:
    """Unbiased MMD^2 of two sets of features (n, d), (n', d) in float64; kernel (f.f' / d + 1)^3."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features")
        size = min(KERNEL_SUBSET_SIZE, len(reference), len(features))
        metric = KernelInceptionDistance(_Given(features.shape[1]), subsets=KERNEL_SUBSETS, subset_size=size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the subsets are drawn from the global generator
        return _compute(metric, reference, features)[0].item()


def _compute(metric, reference: Tensor, features: Tensor):
    metric.update(reference, real=True)
    metric.update(features, real=False)
    return metric.compute()
