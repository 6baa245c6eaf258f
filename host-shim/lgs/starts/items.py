"""Pictures and latents of files, batch by batch, as many times as a fit reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InvalidArgument

LATENTS = (".safetensors", ".latent", ".npy")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
ENDINGS = (*LATENTS, *PICTURES)

OLD_SCALE = 0.18215
"""By which the latents of ComfyUI's first files are multiplied; later files are marked as free of it."""


@dataclasses.dataclass(frozen=True)
class Items:
    """(n, d...), float32, for each file: (x - shift) scale of latents; pictures as (1, channels, height, width), -1..1.

    Raises `lgs.InvalidArgument`, naming the file, for one that cannot be read.
    """

    files: tuple[Path, ...]
    scale: float = 1.0
    shift: float = 0.0

    @classmethod
    def of(cls, places: Sequence[Path], scale: float = 1.0, shift: float = 0.0) -> Items:
        """Those of these files, and of these folders in the order of their names."""
        files: list[Path] = []
        for place in places:
            if place.is_dir():
                found = sorted(file for file in place.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
                if not found:
                    raise InvalidArgument(f"{place}: expected files that end in {', '.join(ENDINGS)}, got none of them")
                files += found
            elif place.suffix.lower() in ENDINGS and place.is_file():
                files.append(place)
            else:
                came = "another" if place.exists() else "none of this name"
                raise InvalidArgument(f"{place}: expected a file that ends in {', '.join(ENDINGS)}, got {came}")
        return cls(tuple(files), scale, shift)

    def __iter__(self) -> Iterator[Tensor]:
        for file in self.files:
            yield self._read(file)

    def __len__(self) -> int:
        """How many items there are."""
        return self._count

    @cached_property
    def _count(self) -> int:
        return sum(1 if file.suffix.lower() in PICTURES else len(self._read(file)) for file in self.files)

    def _read(self, file: Path) -> Tensor:
        try:
            if file.suffix.lower() in PICTURES:
                return _picture(file)
            latents = (_numpy if file.suffix == ".npy" else _safetensors)(file)
        except Exception as problem:  # of three libraries, each with errors of its own
            raise InvalidArgument(f"{file}: expected pictures or latents that can be read, got {problem}") from problem
        if not latents.is_floating_point() or latents.ndim < 2:
            raise InvalidArgument(
                f"{file}: expected latents (n, d...) or (channels, height, width) in floating point, got "
                f"{latents.dtype} {tuple(latents.shape)}"
            )
        latents = latents[None] if latents.ndim == 3 else latents
        return (latents.float() - self.shift) * self.scale


def _picture(file: Path) -> Tensor:
    import numpy
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        picture = ImageOps.exif_transpose(opened).convert("L" if opened.mode in ("1", "L") else "RGB")
    values = torch.from_numpy(numpy.array(picture, dtype=numpy.float32)) / 127.5 - 1
    return values[None, None] if values.ndim == 2 else values.movedim(-1, 0)[None]


def _numpy(file: Path) -> Tensor:
    import numpy

    return torch.from_numpy(numpy.load(file, allow_pickle=False))


def _safetensors(file: Path) -> Tensor:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        names = list(opened.keys())
        if "latent_tensor" in names:  # ComfyUI's
            latents = opened.get_tensor("latent_tensor")
            return latents if "latent_format_version_0" in names else latents / OLD_SCALE
        if len(names) != 1:
            raise ValueError(f"the tensors {', '.join(names[:5])} where one alone, or latent_tensor, tells which it is")
        return opened.get_tensor(names[0])
