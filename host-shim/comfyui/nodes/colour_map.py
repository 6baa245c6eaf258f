"""A colour map for numbers from 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor

VIRIDIS = "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725"
"""Of S. van der Walt and N. Smith (2015, CC0): as steep to the eye everywhere, for any colour vision, in grey too."""


def colours(values: Tensor) -> Tensor:
    """Numbers (...), clamped to 0..1, as colours (..., 3), from dark blue to yellow."""
    table = torch.tensor([[int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)] for colour in VIRIDIS.split()])
    place = values.float().cpu().clamp(0, 1) * (len(table) - 1)
    low = place.long().clamp(max=len(table) - 2)
    return torch.lerp(table[low], table[low + 1], (place - low)[..., None])
