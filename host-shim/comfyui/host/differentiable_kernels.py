"""ComfyUI's own kernels and forward-mode differentiation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import comfy.model_management
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from ..lgs._torch.attention import attention_tangent, is_dual, value_of

OVERRIDE = "optimized_attention_override"
"""What in its ``transformer_options`` ComfyUI calls in the place of its attention."""

KERNEL_ERROR = 0.1
"""How far an attention may be from PyTorch's, relatively, and be taken for the same in low precision."""


@contextlib.contextmanager
def differentiable_kernels(x: Tensor, extra_args: dict) -> Iterator[dict]:
    """While x is a dual number: a derivative where ComfyUI's kernels have none.

    Gives what to call the model with in the place of ``extra_args``, which stays as it is: attention is
    `differentiable_attention` there.

    The kernels of ComfyUI 0.29.0 (the rotary embeddings of Flux, Qwen-Image, Lumina and others) have no
    derivative either, and drop the tangent without an error: the Jacobian-vector product then misses
    all that passes through queries and keys. ComfyUI has PyTorch's in their place for training, and
    this is its switch for them. 0.3.64 has neither the kernels nor the switch.
    """
    if not is_dual(x):
        yield extra_args
        return
    model_options = extra_args.get("model_options", {})
    transformer_options = model_options.get("transformer_options", {})
    attention = differentiable_attention(transformer_options.get(OVERRIDE))
    model_options = model_options | {"transformer_options": transformer_options | {OVERRIDE: attention}}
    extra_args = extra_args | {"model_options": model_options}
    if not hasattr(comfy.model_management, "in_training"):
        yield extra_args
        return
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True
    try:
        yield extra_args
    finally:
        comfy.model_management.in_training = before


def differentiable_attention(override: Callable[..., Tensor] | None) -> Callable[..., Tensor]:
    """An override of ComfyUI's attention by the same attention, with a tangent where an input is dual.

    The values are still those of an earlier ``override``, if there is one, or else of ComfyUI's kernel:
    it gets constant tensors, so it may be any. The arguments are those of the functions of
    ``comfy.ldm.modules.attention``, one of which is ``func``.
    """

    def attention(
        func: Callable[..., Tensor],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None = None,
        attn_precision: torch.dtype | None = None,
        skip_reshape: bool = False,
        skip_output_reshape: bool = False,
        **kwargs,
    ) -> Tensor:
        kernel = partial(
            func if override is None else partial(override, func),
            attn_precision=attn_precision,
            skip_reshape=skip_reshape,
            skip_output_reshape=skip_output_reshape,
            **kwargs,
        )
        if not is_dual(q, k, v, mask):
            return kernel(q, k, v, heads, mask=mask)
        out = kernel(value_of(q), value_of(k), value_of(v), heads, mask=value_of(mask))

        inputs = [q, k, v]
        if not skip_reshape:  # (batch, tokens, heads * d), or SD3's values, (batch, tokens, heads, d)
            inputs = [t.flatten(2).unflatten(2, (-1, q.shape[-1] // heads)).transpose(1, 2) for t in inputs]
        inputs.append(mask.unsqueeze(1) if mask is not None and mask.ndim == 3 else mask)
        options = {name: kwargs[name] for name in ("scale", "enable_gqa") if name in kwargs}
        join = (lambda t: t) if skip_output_reshape else (lambda t: t.transpose(1, 2).flatten(2))

        if override is not None or (mask is not None and mask.dtype == torch.bool):
            # It may be more than another kernel; and what a boolean mask says differs between ComfyUI's.
            expected = join(F.scaled_dot_product_attention(*map(value_of, inputs), **options))
            if not (out - expected).norm() <= KERNEL_ERROR * expected.norm():
                raise NotImplementedError(
                    f"expected {getattr(override or func, '__qualname__', override)} to compute softmax attention, "
                    f"got a result that is more than {KERNEL_ERROR:.0%} off it."
                )
        return forward_ad.make_dual(out, join(attention_tangent(*inputs, **options)).to(out.dtype))

    return attention
