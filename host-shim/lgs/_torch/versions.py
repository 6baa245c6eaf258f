"""Whether a tensor has been written to."""

from __future__ import annotations

from torch import Tensor


def version(tensor: Tensor) -> int | None:
    """A number that rises with each write to the tensor's memory; None for one of inference mode, which has none."""
    return None if tensor.is_inference() else tensor._version
