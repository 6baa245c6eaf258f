"""Attention in forward mode, for the kernels that have no formula for it.

PyTorch's fused kernels of ``scaled_dot_product_attention`` refuse dual numbers, and its math kernel
holds all scores, their tangents and what lies between at once. Here the output is the host's own, by
whatever kernel it has, and the tangent is computed beside it, some queries at a time:

    S = scale q k^T + mask        dS = scale (dq k^T + q dk^T) + dmask
    P = softmax(S)                do = (P * (dS - r)) v + P dv,    r = rowsum(P * dS)
    o = P v

with ``*`` elementwise: the derivative of softmax as in FlashAttention (arXiv 2205.14135, appendix B),
applied from the right; see also "JVP of Flash Attention" in arXiv 2410.11081.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf, prod
from types import FunctionType

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

SCORES = {"cpu": 2**20, "cuda": 2**24}
"""The most scores that are held at a time, by device, unless one query has more: in a processor's
cache, or enough to keep a GPU busy. Two tensors of them are held, in float32 where the model computes in
half precision: 8 or 128 MiB."""

_fused_attention = F.scaled_dot_product_attention
_multi_head_attention = F.multi_head_attention_forward


class DifferentiableAttention(TorchFunctionMode):
    """While this is on, ``scaled_dot_product_attention`` of dual numbers has a tangent, on this thread.

    So have ``torch.nn.MultiheadAttention`` and ``TransformerEncoderLayer``: under any such mode they
    leave their fast paths, which refuse dual numbers too.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is _fused_attention:
            func = _attention
        elif func is _multi_head_attention:
            func = _calling_ours(func)
        return func(*args, **(kwargs or {}))

    def leave(self) -> None:
        """Takes this off the thread's stack of modes if it is there, whatever a model has left above it."""
        above = []
        while self in _get_current_function_mode_stack():
            mode = _pop_mode()
            if mode is not self:
                above.append(mode)
        while above:
            _push_mode(above.pop())


def _calling_ours(func: FunctionType) -> FunctionType:
    """The function with our attention for its global ``scaled_dot_product_attention``.

    Torch turns a mode off within what it hands to it, so that the call inside would not be seen.
    """
    names = {**func.__globals__, "scaled_dot_product_attention": _attention}
    ours = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    ours.__kwdefaults__ = func.__kwdefaults__
    return ours


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **options) -> Tensor:
    """``scaled_dot_product_attention``, whose result is dual if an input is.

    With dropout it is left to PyTorch, which alone knows what it has dropped.
    """
    inputs = query, key, value, attn_mask
    if dropout_p > 0 or not is_dual(*inputs):
        return _fused_attention(*inputs, dropout_p, is_causal, **options)
    out = _fused_attention(*map(value_of, inputs), dropout_p, is_causal, **options)
    tangent = attention_tangent(*inputs, is_causal=is_causal, **options)
    return forward_ad.make_dual(out, tangent.to(out.dtype))


def is_dual(*tensors: Tensor | None) -> bool:
    """Whether one of them carries a tangent."""
    return any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def value_of(t: Tensor | None) -> Tensor | None:
    """It without its tangent."""
    return None if t is None else forward_ad.unpack_dual(t).primal


def attention_tangent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """do of ``scaled_dot_product_attention(q, k, v, ...)``, (..., L, d_v).

    q (..., L, d), k (..., S, d), v (..., S, d_v) and a float ``attn_mask`` are dual or constant, one of
    them dual. The arguments are that function's, and such as it accepts.
    """
    queries, keys = q.shape[-2], k.shape[-2]
    scale = max(1, q.shape[-1]) ** -0.5 if scale is None else scale
    if enable_gqa:
        k, v = (t.repeat_interleave(q.shape[-3] // t.shape[-3], dim=-3) for t in (k, v))
    batch = torch.broadcast_shapes(*(t.shape[:-2] for t in (q, k, v, attn_mask) if t is not None))
    of_queries = *_parts(q, (*batch, *q.shape[-2:])), *_parts(attn_mask, (*batch, queries, keys))
    of_keys = *_parts(k, (*batch, *k.shape[-2:])), *_parts(v, (*batch, *v.shape[-2:]))

    dtype = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
    # Bfloat16 scores would be wrong in the third digit, and autocast would make them that.
    precision = torch.promote_types(dtype, torch.float32)
    out = q.new_empty((*batch, queries, v.shape[-1]), dtype=dtype)
    at_a_time = SCORES.get(q.device.type, SCORES["cuda"]) // max(1, keys)
    with torch.autocast(q.device.type, enabled=False):
        for block in _blocks((*batch, queries), at_a_time):
            out[block] = _tangent(
                *(_cut(t, block, precision) for t in of_queries),
                *(_cut(t, block[:-1], precision) for t in of_keys),
                scale,
                block[-1].start if is_causal else None,
            )
    return out


def _tangent(q, dq, mask, dmask, k, dk, v, dv, scale: float, first: int | None) -> Tensor:
    """do of one block, (..., rows, d_v). A tangent that is None is 0.

    ``first`` is the block's first query where a query attends to no later key, else None.
    """
    weights = _weights((q * scale) @ k.mT, mask, first)

    pairs = [(left, right) for left, right in ((dq, k), (q, dk)) if left is not None and right is not None]
    dscores = None
    if pairs:
        left, right = (torch.cat(side, dim=-1) for side in zip(*pairs, strict=True))
        dscores = (left * scale) @ right.mT
    if dmask is not None:
        dscores = dmask.clone() if dscores is None else dscores.add_(dmask)

    out = torch.zeros((), dtype=q.dtype, device=q.device)
    if dscores is not None:
        dscores.mul_(weights)
        dscores.addcmul_(weights, dscores.sum(dim=-1, keepdim=True), value=-1.0)
        out = dscores @ v
    return out if dv is None else out + weights @ dv


def _weights(scores: Tensor, mask: Tensor | None, first: int | None) -> Tensor:
    """The softmax of what the masks leave of the scores, which are overwritten."""
    if first is not None:
        scores.masked_fill_(torch.ones_like(scores, dtype=torch.bool).triu(first + 1), -inf)
    if mask is None:
        return torch.softmax(scores, dim=-1)
    scores = scores.masked_fill_(~mask, -inf) if mask.dtype == torch.bool else scores.add_(mask)
    # Where no key is left, o is 0.
    return torch.softmax(scores, dim=-1).masked_fill_((scores == -inf).all(dim=-1, keepdim=True), 0.0)


def _parts(t: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
    """Value and tangent, expanded to this shape; None where there is none."""
    if t is None:
        return None, None
    value, tangent = forward_ad.unpack_dual(t)
    return value.expand(shape), None if tangent is None else tangent.expand(shape)


def _cut(t: Tensor | None, block: tuple[slice, ...], precision: torch.dtype) -> Tensor | None:
    if t is None:
        return None
    return t[block] if t.dtype == torch.bool else t[block].to(precision)


def _blocks(sizes: tuple[int, ...], cells: int) -> Iterator[tuple[slice, ...]]:
    """A grid of these sizes in blocks of at most ``cells`` cells, but at least one: all but one axis of a
    block are either whole or of length 1, the last ones whole first."""
    if not sizes:
        yield ()
        return
    size, rest = sizes[0], sizes[1:]
    length = min(size, max(1, cells // max(1, prod(rest))))
    if length:
        length = ceil(size / ceil(size / length))  # of equal lengths, nearly
    for start in range(0, size, max(1, length)):
        for others in _blocks(rest, cells):
            yield (slice(start, min(start + length, size)), *others)
