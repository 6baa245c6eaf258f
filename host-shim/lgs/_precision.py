"""What a model computes in, where its dtype does not tell."""

from __future__ import annotations

import torch
from torch import Tensor

from .options import Options


def as_computed(options: Options, x: Tensor) -> Options:
    """The options, with ``precision`` float16 where float32 is TensorFloat-32.

    PyTorch's default for convolutions on a GPU since Ampere: it has float16's 10 bits, and a finite
    difference whose step is made for float32 drowns in its rounding.
    """
    declared = str(x.dtype).removeprefix("torch.") if options.precision == "auto" else options.precision
    if declared != "float32" or x.dtype != torch.float32 or not tensor_float_32(x.device):
        return options
    return Options(**options.as_dict() | {"precision": "float16"})


def tensor_float_32(device: torch.device) -> bool:
    """Whether convolutions or matrix products in float32 may round to TensorFloat-32 on this device."""
    if device.type != "cuda" or torch.version.cuda is None:
        return False
    allowed = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    return allowed and torch.cuda.get_device_capability(device) >= (8, 0)
