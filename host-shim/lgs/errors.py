"""Every error of ours. Each message says what was expected, what came, and what to do."""

from __future__ import annotations

import torch


class Error(Exception):
    """Base of all of them."""


class InvalidArgument(Error, ValueError):
    """An argument or an option has a value or a shape that cannot be used."""


class InvalidType(Error, TypeError):
    """An argument or an option is of the wrong type, or there is no such option."""


class EngineError(Error, RuntimeError):
    """The native library or its engine for this torch is missing, altered or not loadable."""


class ModelOutputError(Error, ValueError):
    """The model or the noise source returned something that cannot be used."""


class TorchError(Error, RuntimeError):
    """libtorch refused an operation."""


class OutOfMemory(TorchError, torch.OutOfMemoryError):
    """There was no memory left. It is free again, and everything can be used."""


class InternalError(Error, RuntimeError):
    """A bug in the native library."""


def without_derivative(node: str, refusal: NotImplementedError) -> Error:
    """What a node says of a model that forward mode was asked for, and that torch has refused."""
    why = (str(refusal).splitlines() or ["It does not say more."])[0]
    return Error(
        f"{node}: forward mode needs a derivative of every operation of the model, and one has none: {why} Set the "
        "input Jacobian product to auto or finite-difference."
    )


def is_out_of_memory(exception: BaseException) -> bool:
    """Whether torch had no memory left, which on a processor it says in words alone."""
    if isinstance(exception, torch.OutOfMemoryError):
        return True
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(exception, RuntimeError) and any(word in str(exception) for word in words)


HOST_FAILED, HOST_STOPPED = 6, 7
"""Statuses of ``lgs.h`` that stand for an exception raised in a callback."""

_BY_STATUS = {
    1: InvalidArgument,
    2: InvalidType,
    3: EngineError,
    4: EngineError,
    5: ModelOutputError,
    8: TorchError,
    10: OutOfMemory,
}


def error_for(status: int, message: str) -> Error:
    """The error for a status of ``lgs.h``."""
    return _BY_STATUS.get(status, InternalError)(message)
