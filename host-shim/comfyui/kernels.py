"""ComfyUI's own kernels and forward-mode differentiation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import comfy.model_management
from torch import Tensor
from torch.autograd import forward_ad


@contextlib.contextmanager
def differentiable_kernels(x: Tensor) -> Iterator[None]:
    """While x is a dual number: PyTorch's operations where ComfyUI has kernels of its own.

    Those of ComfyUI 0.29.0 (the rotary embeddings of Flux, Qwen-Image, Lumina and others) have no
    derivative, and drop the tangent without an error: the Jacobian-vector product then misses all
    that passes through queries and keys. ComfyUI has PyTorch's in their place for training, and
    this is its switch for them. 0.3.64 has neither the kernels nor the switch.
    """
    differentiating = forward_ad.unpack_dual(x).tangent is not None
    if not differentiating or not hasattr(comfy.model_management, "in_training"):
        yield
        return
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True
    try:
        yield
    finally:
        comfy.model_management.in_training = before
