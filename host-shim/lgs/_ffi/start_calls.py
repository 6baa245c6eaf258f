"""Calls of the functions of ``lgs.h`` that start a trajectory, and ask no model: tensors in, tensors out."""

from __future__ import annotations

from contextlib import ExitStack
from ctypes import byref, c_double, c_void_p

from torch import Tensor

from .._torch.handles import Lent, take
from .calls import Call
from .engine import engine
from .header import Gaussian


def teleport(
    options: bytes,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    *,
    mean: Tensor,
    basis: Tensor,
    variances: Tensor,
    rest: float,
) -> Tensor:
    """x at ``sigma_next``, like x; the prior as ``lgs_gaussian`` has it."""
    native, out = engine(), c_void_p()
    with ExitStack() as stack:
        lent = [stack.enter_context(Lent(native, tensor)) for tensor in (x, mean, basis, variances)]
        prior = Gaussian.sized(*lent[1:], rest)
        call = stack.enter_context(Call())
        levels = c_double(sigma), c_double(sigma_next)
        status, message = native.lib.call(
            native.lib.api.teleport, native.handle, options, byref(prior), lent[0], *levels, byref(out)
        )
    results = [] if status else [take(out.value)]
    call.finish(status, message)
    return results[0]
