"""The safetensors files of starts: their tensors, and what they were fitted to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from ..errors import Error, InvalidArgument

if TYPE_CHECKING:
    from .start import Start

    S = TypeVar("S", bound=Start)

FORMAT = {"format": "lgs-start", "version": "1"}
"""In the metadata of every file of this version, with its family."""

TENSORS = {
    "gaussian": ("mean", "basis", "variances", "rest"),
    "mixture": ("weights", "means", "bases", "variances", "rests"),
}
"""By family; of others any."""


def write(file: str | PathLike[str], family: str, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Writes all of it or nothing: what is interrupted leaves the old file, or none."""
    from safetensors.torch import save_file

    file = Path(file)
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    metadata = FORMAT | {"family": family} | {f"about.{name}": value for name, value in about.items()}
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, new, metadata)
        os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)


def read(file: str | PathLike[str], family: str | None = None) -> tuple[str, dict[str, Tensor], dict[str, str]]:
    """Family, tensors, and what they were fitted to; of this family, if one is named.

    Raises `lgs.InvalidArgument` for a file that is missing, cut short, or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(file)
    try:
        if not file.is_file():
            raise ValueError("expected a file, got " + ("a folder" if file.is_dir() else "none of this name"))
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            for name, value in (FORMAT | ({} if family is None else {"family": family})).items():
                if metadata.get(name) != value:
                    raise ValueError(f"expected {name} {value!r} in its metadata, got {metadata.get(name)!r}")
            found, names = metadata.get("family", ""), set(opened.keys())
            if found in TENSORS and names != set(TENSORS[found]):
                raise ValueError(f"expected the tensors {', '.join(TENSORS[found])}, got {', '.join(sorted(names))}")
            tensors = {name: opened.get_tensor(name) for name in sorted(names)}
    except (OSError, SafetensorError, ValueError) as problem:
        raise unusable(file, problem) from problem
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InvalidArgument(f"start: {file}: expected finite numbers in {name}, got others. Fit it again.")
    about = {name.removeprefix("about."): value for name, value in metadata.items() if name.startswith("about.")}
    return found, tensors, about


def unusable(file: str | PathLike[str], problem: Exception) -> InvalidArgument:
    return InvalidArgument(
        f"start: {file} is no start that can be used: {problem}. Choose a file that a start's save wrote, or fit it "
        "again."
    )


def read_as(kind: Callable[..., S], family: str, file: str | PathLike[str]) -> S:
    """The start of a file of this family, made of its tensors by name."""
    _, tensors, about = read(file, family)
    try:
        return kind(**tensors, about=about)
    except Error as problem:
        raise unusable(file, problem) from problem
