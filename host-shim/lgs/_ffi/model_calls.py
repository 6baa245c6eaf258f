"""Calls of the functions of ``lgs.h`` that run a model: tensors and Python's numbers in, tensors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from ctypes import byref, c_double, c_void_p
from typing import Any

from torch import Tensor

from .._torch.handles import Lent, take
from .callbacks import HostCall
from .engine import engine
from .header import Choice


def call_with_model(
    function: str,
    options: bytes,
    x: Tensor,
    numbers: Sequence[float | Sequence[float]],
    tensor: Tensor | None = None,
    *,
    results: int,
    denoise: Callable[[Tensor, Tensor], Tensor],
    choice: Choice,
    **callbacks: Callable[..., Any] | None,
) -> list[Tensor]:
    """Calls a function of the table by name; gives the tensors that it returns.

    After x come ``numbers``, a list of them as an array and its length, and then ``tensor``, if there is one.
    ``denoise``, ``choice`` and ``callbacks`` are those of `HostCall`. What a callback raises is raised here.
    """
    native = engine()
    outs = [c_void_p() for _ in range(results)]
    lent = nullcontext() if tensor is None else Lent(native, tensor)
    items = len(x) if x.ndim else 0
    with (
        Lent(native, x) as handle,
        lent as other,
        HostCall(native, denoise, items=items, choice=choice, **callbacks) as call,
    ):
        arguments = [*_converted(numbers), *([] if tensor is None else [other]), *map(byref, outs)]
        status, message = native.lib.call(
            getattr(native.lib.api, function), native.handle, options, byref(call.host()), handle, *arguments
        )
    tensors = [] if status else [take(out.value) for out in outs]
    call.finish(status, message)
    return tensors


def _converted(numbers: Sequence[float | Sequence[float]]) -> list:
    converted = []
    for number in numbers:
        if isinstance(number, float):
            converted.append(c_double(number))
        else:
            converted += [(c_double * len(number))(*number), len(number)]
    return converted
