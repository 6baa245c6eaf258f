"""A host's arguments, checked and completed as far as the library cannot, since it sees no Python object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._torch.handles import DEVICES, oddity
from ._torch.precision import tensor_float_32
from .errors import InvalidArgument, InvalidType
from .options import Options

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""D(x, sigma) = E[x_0 | x]: x (batch, ...), sigma (batch,), the result like x."""


def check_process(diagonal: Denoiser | None, options: Options) -> None:
    process = getattr(diagonal, "process", options.process)
    if options.covariance == "diagonal-learned" and process != options.process:
        raise InvalidArgument(
            f'diagonal: expected a network for the process "{options.process}", which this model has, got one for '
            f'"{process}"; take covariance "diagonal", which needs none'
        )


def check_tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise InvalidType(f"{name}: expected a torch.Tensor, got {type(value).__name__}")
    if odd := oddity(value):
        raise InvalidArgument(f"{name}: expected a dense tensor, got {odd}")
    if value.device.type not in DEVICES:
        raise InvalidArgument(f"{name}: expected a tensor on {', '.join(DEVICES)}, got one on {value.device}")
    return value.detach()


def check_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as problem:
        raise InvalidType(f"{name}: expected a number, got {value!r}") from problem


def check_sigmas(sigmas: Any) -> tuple[list[float], Callable[[float], Tensor]]:
    """The noise levels as floats, and how to give one back as the host wrote it: a 0-d tensor."""
    try:
        tensor = torch.as_tensor(sigmas)
        if tensor.ndim != 1 or tensor.dtype == torch.bool or tensor.is_complex():
            raise TypeError(f"shape {tuple(tensor.shape)}, dtype {tensor.dtype}")
        levels = [float(sigma) for sigma in tensor.tolist()]
    except (TypeError, ValueError, RuntimeError) as problem:
        raise InvalidType(
            f"sigmas: expected a list or a one-dimensional tensor of numbers, got {type(sigmas).__name__} ({problem})"
        ) from problem
    dtype = tensor.dtype if tensor.is_floating_point() else torch.get_default_dtype()
    if isinstance(sigmas, Tensor):
        # The host's own numbers: a new tensor on a GPU would have to wait for it.
        own = dict(zip(levels, tensor.detach().to(dtype), strict=True))
        # The library takes a level above a flow's largest, by rounding, for that level.
        return levels, lambda sigma: own[sigma if sigma in own else min(own, key=lambda level: abs(level - sigma))]
    # A list of Python's floats has float64's precision.
    levels = [float(sigma) for sigma in sigmas]
    return levels, lambda sigma: torch.tensor(sigma, dtype=torch.float64)


def as_computed(options: Options, x: Tensor) -> Options:
    """The options, with ``precision`` float16 where float32 is TensorFloat-32.

    PyTorch's default for convolutions on a GPU since Ampere: it has float16's 10 bits, and a finite
    difference whose step is made for float32 drowns in its rounding.
    """
    declared = str(x.dtype).removeprefix("torch.") if options.precision == "auto" else options.precision
    if declared != "float32" or x.dtype != torch.float32 or not tensor_float_32(x.device):
        return options
    return options._with(precision="float16")
