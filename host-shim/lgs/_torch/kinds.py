"""Tensors of every kind that torch has, for those who check what is made of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.overrides import _get_current_function_mode_stack
from torch.utils._pytree import tree_map


class Wrapper(Tensor):
    """Numbers in an attribute, as quantised and distributed tensors have them."""

    @staticmethod
    def __new__(cls, inner):
        wrapper = Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, device=inner.device)
        wrapper.inner = inner
        return wrapper

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        inner = tree_map(lambda a: a.inner if isinstance(a, cls) else a, (arguments, keywords or {}))
        return tree_map(lambda a: cls(a) if isinstance(a, Tensor) else a, function(*inner[0], **inner[1]))


def _freed(x: Tensor) -> Tensor:
    """Its storage is gone, as sharded weights have it between their uses."""
    x = x.clone()
    x.untyped_storage().resize_(0)
    return x


def odd_tensors() -> dict[str, Callable[[Tensor], Tensor]]:
    """Kinds whose numbers a C library cannot read, each made of a dense tensor of two axes."""
    return {
        "a wrapper": Wrapper,
        "a FakeTensor": lambda x: FakeTensorMode().from_tensor(x),
        "one whose storage was freed": _freed,
        "a nested one": lambda x: torch.nested.as_nested_tensor(list(x)),
        "a jagged one": lambda x: torch.nested.as_nested_tensor(list(x), layout=torch.jagged),
        "a sparse one": lambda x: x.to_sparse(),
        "one on meta": lambda x: x.to("meta"),
    }


def equal_tensors() -> dict[str, Callable[[Tensor], Tensor]]:
    """Other forms of a dense tensor of two axes, all of which a C library can read."""
    return {
        "transposed": lambda x: x.mT.contiguous().mT,
        "every other number": lambda x: torch.stack([x, x], -1)[..., 0],
        "with an offset": lambda x: torch.cat([x[:1], x])[1:],
        "negated by a bit": lambda x: torch._neg_view(-x),
        "one that records gradients": lambda x: x.clone().requires_grad_(),
        "a parameter": lambda x: torch.nn.Parameter(x.clone()),
    }


def outside() -> bool:
    """Whether this thread is in no mode that overrides functions, and nobody in forward mode."""
    return not _get_current_function_mode_stack() and forward_ad._current_level < 0
