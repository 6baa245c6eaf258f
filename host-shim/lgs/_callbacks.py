"""The callbacks that the library makes while it samples, and what becomes of their exceptions.

The C callbacks are made once for the process; a call finds its own state by the number that it
gave as context. So a call leaves no reference cycle and no native closure behind.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from ctypes import pointer, sizeof
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import _native, _tensors
from ._forward_ad import ForwardLevel
from ._native import CONTINUE, FAIL, JVP_NAMES, STOP
from .errors import HOST_FAILED, HOST_STOPPED, InvalidType, ModelOutputError

if TYPE_CHECKING:
    from ._engine import Engine

log = logging.getLogger("lgs")


class Call:
    """One call into the library: what it may ask of the host, and what was raised meanwhile."""

    def __init__(
        self,
        engine: Engine | None = None,
        denoise: Callable[[Tensor, Tensor], Tensor] | None = None,
        noise: Callable[[float, float], Tensor] | None = None,
        progress: Callable[[dict[str, Any]], Any] | None = None,
        diagonal: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        items: int = 0,
        choice: _native.Choice | None = None,
    ):
        """``items`` is the batch of x, ``choice`` what is known of the model and what will be."""
        self.engine, self.denoise, self.noise, self.progress = engine, denoise, noise, progress
        self.diagonal = diagonal
        self.items, self.choice = items, choice
        self.exception: BaseException | None = None
        self.stopping = False
        self.forward_level = ForwardLevel()
        self.differentiating = False
        self.several_points = False

    def failed(self, exception: BaseException) -> int:
        """Keeps an exception to be raised again, and says whether the library may go on.

        Only what torch raises where an operation has no forward-mode formula, and what a model raises
        at a batch of another size (or where memory does not suffice for it), lets the library try
        another way. Everything else ends the call: an interrupt must not be mistaken for that.
        """
        self.exception = exception
        _leave_contexts(exception)
        if self.differentiating and isinstance(exception, RuntimeError):
            return self._has_another_way(exception, "in forward mode")
        if self.several_points and isinstance(exception, _REFUSALS):
            return self._has_another_way(exception, "for a larger batch than that of x")
        self.stopping = True
        return STOP

    def _has_another_way(self, exception: Exception, when: str) -> int:
        log.debug("LGS: the model failed %s", when, exc_info=exception)
        log.info("LGS: the model raised %s %s: %s", type(exception).__name__, when, _first_line(exception))
        # What the model held when it failed must not take the memory that the other way needs.
        traceback.clear_frames(exception.__traceback__)
        return FAIL

    def raise_again(self, status: int):
        """Raises what a callback has raised, if that is what the status stands for, or if the call
        has gone on to its end where it should have stopped."""
        if self.exception is None or not (self.stopping or status in (HOST_FAILED, HOST_STOPPED)):
            return
        exception, self.exception = self.exception, None
        try:
            raise exception
        finally:
            # The traceback holds this frame, and the frame must not hold the exception.
            del exception

    def __enter__(self) -> Call:
        self.number = next(_numbers)
        _calls[self.number] = self
        _current.stack.append(self)
        _hook.enter()
        return self

    def host(self) -> _native.Host:
        """The callbacks, for the library."""
        choice = None if self.choice is None else pointer(self.choice)
        diagonal = _native.DenoiseCallback() if self.diagonal is None else _diagonal
        return _native.Host(
            sizeof(_native.Host), self.number, _denoise, _noise, _progress, _forward_ad, choice, diagonal
        )

    def __exit__(self, *_):
        _hook.leave()
        _current.stack.remove(self)
        del _calls[self.number]
        # Open only if the library has broken off; then its own guards came off before this one.
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            self.forward_level.close()


_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What a model raises at a shape that it is not made for. Running out of memory is a RuntimeError."""

_numbers = itertools.count(1)
_calls: dict[int, Call] = {}


class _Current(threading.local):
    def __init__(self):
        self.stack: list[Call] = []


_current = _Current()

_FUNCTIONS: set[Callable] = set()
"""The Python functions behind the C callbacks."""


def _callback(kind, even_when_stopping: bool = False):
    """Makes a C callback of ``body(call, ...)``, which does its work or raises."""

    def make(body):
        def entry(context, *arguments):
            call = _calls[context]
            try:
                if call.stopping and not even_when_stopping:
                    return STOP
                body(call, *arguments)
                return CONTINUE
            except BaseException as exception:
                return call.failed(exception)

        _FUNCTIONS.add(entry)
        return kind(entry)

    return make


@_callback(_native.DenoiseCallback)
def _denoise(call, x, sigma, out):
    x, sigma = _tensors.borrow(call.engine, x), _tensors.borrow(call.engine, sigma)
    call.several_points = len(x) > call.items
    denoised = call.denoise(x, sigma)
    out[0] = _tensors.give(_expect_tensor("denoise", denoised))


@_callback(_native.DenoiseCallback)
def _diagonal(call, x, sigma, out):
    x, sigma = _tensors.borrow(call.engine, x), _tensors.borrow(call.engine, sigma)
    out[0] = _tensors.give(_expect_tensor("diagonal", call.diagonal(x, sigma)))


@_callback(_native.NoiseCallback)
def _noise(call, sigma, sigma_next, out):
    out[0] = _tensors.give(_expect_tensor("noise", call.noise(sigma, sigma_next)))


@_callback(_native.ProgressCallback)
def _progress(call, progress):
    if call.progress is None:
        return
    p = progress.contents
    x = _tensors.borrow(call.engine, p.x)
    call.progress(
        {
            "x": x,
            "i": p.step,
            "steps": p.steps,
            "sigma": p.sigma,
            "sigma_hat": p.sigma,
            "sigma_next": p.sigma_next,
            "denoised": _tensors.borrow(call.engine, p.denoised),
            "model_evaluations": p.model_evaluations,
            "jvps": p.jvps,
            "jvp": JVP_NAMES[p.jvp],
            "lanczos_error": p.lanczos_error,
            "covariance_share": p.covariance_share,
            "noise_variance": p.noise_variance,
            # The numbers are the library's: a tensor of our own outlives the call.
            "ritz_values": torch.tensor(p.ritz_values[: p.ritz_count], dtype=torch.float64).reshape(
                len(x), p.ritz_count // len(x)
            ),
        }
    )


@_callback(_native.ForwardAdCallback, even_when_stopping=True)
def _forward_ad(call, is_open):
    call.differentiating = bool(is_open)
    if is_open:
        call.forward_level.open()
    else:
        call.forward_level.close()


_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO}


def _log(_context, level, message):
    try:
        # What the library says of a call that is being stopped only follows from that.
        stopping = bool(_current.stack) and _current.stack[-1].stopping
        # Hosts print the message without the logger's name.
        log.log(logging.DEBUG if stopping else _LEVELS.get(level, logging.DEBUG), "LGS: %s", message.decode())
        return CONTINUE
    except BaseException as exception:
        # Handlers report their own failures; what arrives here is a signal, or a filter that fails.
        if not _current.stack:
            raise
        call = _current.stack[-1]
        call.exception, call.stopping = exception, True
        return STOP


_FUNCTIONS.add(_log)
log_callback = _native.LogCallback(_log)
"""For an engine, whose messages go to the logger ``lgs``."""


def _expect_tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise InvalidType(f"{name}: expected it to return a torch.Tensor, got {type(value).__name__}")
    if value.layout != torch.strided or value.is_nested:
        kind = "a nested one" if value.is_nested else f"one of layout {value.layout}"
        raise ModelOutputError(f"{name}: expected it to return a dense tensor, got {kind}")
    if value.device.type not in _tensors.DEVICES:
        raise ModelOutputError(f"{name}: expected it to return a tensor on x's device, got one on {value.device}")
    return value


_OF_CONTEXTS = {getattr(contextlib._GeneratorContextManager, name).__code__ for name in ("__enter__", "__exit__")}


def _leave_contexts(exception: BaseException) -> None:
    """Leaves the ``contextlib.contextmanager`` that a signal has interrupted at entering or leaving.

    The traceback holds it, half done: it would undo what it did whenever the traceback is freed, long
    after the call. Torch takes a mode off the stack in one, and would put ours back.
    """
    for frame, _line in traceback.walk_tb(exception.__traceback__):
        if frame.f_code in _OF_CONTEXTS:
            frame.clear()


def _first_line(exception: BaseException) -> str:
    return (str(exception).splitlines() or [""])[0]


class _UnraisableHook:
    """Catches what is raised in a callback before its first line runs.

    A signal (Ctrl-C) that arrives while native code is at work is delivered at the very start of
    the next callback, outside its ``try``. ctypes can only report such an exception to
    ``sys.unraisablehook``, and returns what chance has left in the place of the answer. While a call
    is under way, this hook takes what belongs to the call, and passes on the rest; the next callback
    stops the call, or `Call.raise_again` at its end does.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._users = 0
        self._previous = None

    def enter(self):
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._previous, sys.unraisablehook = sys.unraisablehook, self

    def leave(self):
        with self._lock:
            self._users -= 1
            if self._users == 0:
                if sys.unraisablehook is self:
                    sys.unraisablehook = self._previous
                self._previous = None

    def __call__(self, unraisable):
        # Python 3.13 names the callback in the message alone.
        ours = unraisable.object in _FUNCTIONS or "ctypes callback" in (unraisable.err_msg or "")
        if ours and _current.stack:
            call = _current.stack[-1]
            call.exception = unraisable.exc_value or unraisable.exc_type()
            call.stopping = True
        else:
            (self._previous or sys.__unraisablehook__)(unraisable)


_hook = _UnraisableHook()
