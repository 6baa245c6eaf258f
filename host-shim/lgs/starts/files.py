"""The safetensors file of a prior: its tensors, and what it was fitted to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InvalidArgument

FORMAT = {"format": "lgs-start", "version": "1", "family": "gaussian"}
"""In the metadata of every file of this version."""

NAMES = ("mean", "basis", "variances", "rest")


def write(file: str | PathLike[str], tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Writes all of it or nothing: what is interrupted leaves the old file, or none."""
    from safetensors.torch import save_file

    file = Path(file)
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(kept, new, metadata=FORMAT | {f"about.{name}": value for name, value in about.items()})
        os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)


def read(file: str | PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and what they were fitted to. Raises `lgs.InvalidArgument` for a file that is missing, cut short, or of
    another kind; nothing is allocated before its header has been checked."""
    from safetensors import SafetensorError, safe_open

    file = Path(file)
    try:
        if not file.is_file():
            raise ValueError("expected a file, got " + ("a folder" if file.is_dir() else "none of this name"))
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            for name, value in FORMAT.items():
                if metadata.get(name) != value:
                    raise ValueError(f"expected {name} {value!r} in its metadata, got {metadata.get(name)!r}")
            if set(opened.keys()) != set(NAMES):
                raise ValueError(f"expected the tensors {', '.join(NAMES)}, got {', '.join(sorted(opened.keys()))}")
            shapes = {name: list(opened.get_slice(name).get_shape()) for name in NAMES}
            item, rank = shapes["mean"], shapes["variances"]
            if len(rank) != 1 or shapes["basis"] != [*item, *rank] or shapes["rest"] != []:
                raise ValueError(f"expected a basis of shape mean + variances and one rest, got {shapes}")
            tensors = {name: opened.get_tensor(name) for name in NAMES}
    except (OSError, SafetensorError, ValueError) as problem:
        raise InvalidArgument(
            f"start: {file} is no start that can be used: {problem}. Choose a file that GaussianPrior.save wrote, "
            "or fit it again."
        ) from problem
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise InvalidArgument(f"start: {file}: expected finite numbers in {name}, got others. Fit it again.")
    about = {name.removeprefix("about."): value for name, value in metadata.items() if name.startswith("about.")}
    return {name: tensor.to(torch.float32) for name, tensor in tensors.items()}, about
