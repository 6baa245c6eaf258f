"""The classifier whose features distances between sets of digits are measured in.

Small, so that it reads 5,000 digits in a second or two on a CPU, and trained on the same digits as
the diffusion model (`models.train_classifier`), so that neither has seen the held-out ones.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from . import CLASSIFIER

FEATURES = 64
"""Width of the penultimate layer, the pooled output of the last convolution, as in FID's network."""


class DigitClassifier(nn.Module):
    """Five convolutions, their mean over the image (64 features), ten logits. 0.07 M parameters."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(1, 16, stride=1),
            *_convolution(16, 32, stride=2),
            *_convolution(32, 32, stride=1),
            *_convolution(32, 64, stride=2),
            *_convolution(64, FEATURES, stride=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (batch, 64) of images (batch, 1, 32, 32) in [-1, 1]."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        return self.head(self.features(images))


def _convolution(channels_in: int, channels: int, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def load_classifier(file: str | Path = CLASSIFIER) -> DigitClassifier:
    """The trained classifier, for evaluation, on the CPU."""
    from safetensors.torch import load_file

    classifier = DigitClassifier()
    classifier.load_state_dict(load_file(file))
    return classifier.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(classifier: DigitClassifier, images: Tensor, labels: Tensor) -> float:
    """Share of images (n, 1, 32, 32) that are read as their label (n,)."""
    read = torch.cat([classifier(part).argmax(dim=1) for part in images.split(500)])
    return (read == labels).double().mean().item()
