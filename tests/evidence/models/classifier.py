"""The classifiers whose features distances between sets of pictures are measured in, one for each data set.

Small, so that they read thousands of pictures in seconds on a CPU, and trained on the same pictures as
the diffusion models (`evidence.training.train_classifier`), so that neither has seen the held-out ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from . import CLASSIFIER


class Classifier(nn.Module):
    """A body that ends in features, pooled over the image as in FID's network, and a linear head."""

    def __init__(self, channels: int, features: int, *body: nn.Module):
        super().__init__()
        self.channels = channels
        """Of the images that it reads."""
        self.width = features
        """Number of features."""
        self.body = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(features, 10)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (batch, width) of images (batch, channels, 32, 32) in [-1, 1]."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        return self.head(self.features(images))


class DigitClassifier(Classifier):
    """Five convolutions, 64 features. 0.07 M parameters."""

    def __init__(self):
        super().__init__(
            1,
            64,
            *_convolution(1, 16, stride=1),
            *_convolution(16, 32, stride=2),
            *_convolution(32, 32, stride=1),
            *_convolution(32, 64, stride=2),
            *_convolution(64, 64, stride=1),
        )


class PictureClassifier(Classifier):
    """Seven convolutions, four of them in two residual blocks, 96 features. 0.26 M parameters."""

    def __init__(self):
        super().__init__(
            3,
            96,
            *_convolution(3, 24, stride=1),
            *_convolution(24, 48, stride=2),
            _Residual(48),
            *_convolution(48, 96, stride=2),
            _Residual(96),
        )


class _Residual(nn.Module):
    """What two convolutions add to their input (He et al., arXiv 1512.03385)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels, stride=1), *_convolution(channels, channels, stride=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _convolution(channels_in: int, channels: int, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network, its weights, and how it was trained."""

    network: Callable[[], Classifier]
    weights: Path
    shift: int
    """Pixels by which `evidence.training.train_classifier` moved the pictures."""


CLASSIFIERS = {
    "digits": Trained(DigitClassifier, CLASSIFIER, shift=2),
    "cifar": Trained(PictureClassifier, CLASSIFIER.with_name("cifar-classifier.safetensors"), shift=4),
}
"""For each of `evidence.models.data.DATA_SETS`."""


def load_classifier(data: str = "digits") -> Classifier:
    """The trained classifier of a data set, for evaluation, on the CPU."""
    from safetensors.torch import load_file

    classifier = CLASSIFIERS[data].network()
    classifier.load_state_dict(load_file(CLASSIFIERS[data].weights))
    return classifier.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(classifier: Classifier, images: Tensor, labels: Tensor) -> float:
    """Share of images (n, channels, 32, 32) that are read as their label (n,)."""
    read = torch.cat([classifier(part).argmax(dim=1) for part in images.split(500)])
    return (read == labels).double().mean().item()
