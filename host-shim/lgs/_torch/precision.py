"""What a model computes in, where its dtype does not say."""

from __future__ import annotations

import torch


def tensor_float_32(device: torch.device) -> bool:
    """Whether convolutions or matrix products in float32 may round to TensorFloat-32 on this device."""
    if device.type != "cuda" or torch.version.cuda is None:
        return False
    allowed = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    return allowed and torch.cuda.get_device_capability(device) >= (8, 0)
