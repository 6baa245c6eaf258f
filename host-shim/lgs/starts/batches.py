"""Batches of pictures, which need not fit in memory together, checked when they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .._arguments import check_tensor
from ..errors import InvalidArgument, InvalidType


def checked_batches(images: Tensor | Iterable[Tensor]) -> Callable[[], Iterable[Tensor]]:
    """A function that gives the batches from the beginning each time, each checked when it comes."""
    if not isinstance(images, Tensor) and iter(images) is images:
        raise InvalidType(
            "images: expected a tensor, or batches that can be read several times (a list, a data loader), got "
            f"{type(images).__name__}, which can be read once"
        )

    def batches() -> Iterable[Tensor]:
        shape = None
        for batch in images.split(1000) if isinstance(images, Tensor) else images:
            batch = checked_batch(batch, shape)
            shape = batch.shape[1:]
            yield batch.float()
        if shape is None:
            raise InvalidArgument("images: expected at least two pictures, got 0")

    return batches


def checked_batch(batch: Tensor, shape: torch.Size | None) -> Tensor:
    """Pictures (n, d...) of the size of those before, if there were any."""
    batch = check_tensor("images", batch)
    if batch.ndim < 2 or not batch.is_floating_point():
        raise InvalidType(f"images: expected floating point tensors (n, d...), got {batch.dtype} {tuple(batch.shape)}")
    if shape is not None and batch.shape[1:] != shape:
        raise InvalidArgument(
            f"images: expected pictures of one size, got {tuple(shape)} and {tuple(batch.shape[1:])}; crop or scale "
            "them to one"
        )
    if not batch.isfinite().all():
        raise InvalidArgument("images: expected finite numbers, got NaN or infinity")
    return batch
