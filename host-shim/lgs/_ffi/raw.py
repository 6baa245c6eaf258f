"""The C interface as a host in C meets it: nothing is checked, completed or turned into exceptions on the way.

For `lgs.validator`, which has to pass what no host should.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections import Counter
from collections.abc import Callable
from ctypes import POINTER, byref, c_char, c_double, c_uint32, c_void_p, cast, memmove, pointer, sizeof
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._torch.forward_ad import ForwardLevel
from .._torch.handles import Handles, borrow, give, take
from .header import CONTINUE, FAIL, Choice, EngineConfig, Gaussian, Host, Progress, Struct
from .liblgs import Library

UNTOUCHED = 0x5EA1ED
"""What an out parameter holds before a call, and after one that failed."""
BEYOND = 0xA5
"""What every byte behind a struct is. A pointer of such bytes leads nowhere."""


class Outcome(NamedTuple):
    """What a call came to."""

    status: int
    message: str
    error_status: int
    """Of the error object; 0 where there is none."""
    outs: list[int]


def raw_call(library: Library, function: str, *arguments: Any, outs: int = 1, wants_error: bool = True) -> Outcome:
    """Calls a function of the table whose last parameters are out parameters and the error."""
    error, values = c_void_p(), [c_void_p(UNTOUCHED) for _ in range(outs)]
    wanted = byref(error) if wants_error else None
    api = library.api
    status = getattr(api, function)(*arguments, *map(byref, values), wanted)
    message, error_status = "", 0
    if error:
        message, error_status = (api.error_message(error) or b"").decode(), api.error_status(error)
        api.error_delete(error)
    return Outcome(status, message, error_status, [value.value or 0 for value in values])


def offers(library: Library, version: int) -> bool:
    """Whether a library has a table for a version of the interface."""
    get_api = ctypes.CDLL(str(library.file)).lgs_get_api
    get_api.restype, get_api.argtypes = c_void_p, [c_uint32]
    return bool(get_api(version))


def trim() -> None:
    """Gives free memory back to the system, where it can: what is taken after it shows in what a process uses."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def levels(*sigmas: float) -> tuple[ctypes.Array, int]:
    """Noise levels as an array and its length."""
    return (c_double * len(sigmas))(*sigmas), len(sigmas)


def with_size(struct: Struct, size: int) -> Any:
    """A copy that says and has this size, for a parameter that takes a pointer; behind it there are bytes that a
    library must not read. A size larger than the struct's is that of a later version."""
    kept = (c_char * (max(size, 8) + 256)).from_buffer_copy(bytes([BEYOND]) * (max(size, 8) + 256))
    memmove(kept, byref(struct), min(size, sizeof(struct)))
    memmove(kept, byref(ctypes.c_size_t(size)), sizeof(ctypes.c_size_t))
    pointer = cast(kept, POINTER(type(struct)))
    pointer.kept = kept
    return pointer


def bytes_of(pointer: Any) -> bytes:
    """All of what `with_size` has made."""
    return bytes(pointer.kept)


def tensor_of(handle: int) -> Tensor:
    """The tensor that a call has returned."""
    return take(handle)


def engine_config(manifest: bytes | None, torch_version: bytes | None, log: Callable[[int, bytes], int] | None):
    """A config; it keeps its callback alive."""
    logged = EngineConfig.type_of("log")() if log is None else EngineConfig.type_of("log")(lambda _c, *said: log(*said))
    config = EngineConfig.sized(manifest, torch_version, None, logged)
    config.kept = logged
    return config


def prior(handles: Handles, mean: Tensor, basis: Tensor, variances: Tensor, rest: float) -> Gaussian:
    """A prior; the handles are its own, and go with it."""
    lent = [give(tensor) for tensor in (mean, basis, variances)]
    struct = Gaussian.sized(*lent, rest)
    struct.kept = _Handles(handles, lent)
    return struct


class _Handles:
    def __init__(self, handles: Handles, lent: list[int]):
        self._handles, self._lent = handles, lent

    def __del__(self):
        for handle in self._lent:
            self._handles.delete_handle(handle)


@dataclass
class Odd:
    """One call of one callback that answers otherwise."""

    kind: str
    at: int
    """From 1."""
    answer: int = CONTINUE
    tensor: Callable[[], Tensor] | None = None
    """What it stores, where it stores anything."""


@dataclass
class ScriptedHost:
    """A host's side that counts what it is asked, and can answer otherwise in one place."""

    handles: Handles
    denoise: Callable[[Tensor, Tensor], Tensor]
    noise: Callable[[float, float], Tensor] | None = None
    diagonal: Callable[[Tensor, Tensor], Tensor] | None = None
    forward_ad: bool = True
    progress: bool = True
    """Whether it has these two, which it need not."""
    odd: Odd | None = None
    calls: Counter = field(default_factory=Counter)
    later: int = 0
    """Calls after the one that should have ended it all."""
    level_open: int = 0
    """Forward mode: 1 while it is open. It is never more or less."""
    problems: list[str] = field(default_factory=list)
    """What the library has done and must not."""
    raised: list[str] = field(default_factory=list)
    """What the model and the other callbacks have raised; each was a failure."""
    reports: list[dict] = field(default_factory=list)
    choice: Choice = field(default_factory=Choice.sized)

    def __post_init__(self):
        self._level = ForwardLevel()
        self._thread = threading.get_ident()
        self._callbacks = {
            "denoise": self._storing("denoise", self._evaluate),
            "noise": self._storing("noise", lambda *sigmas: self.noise(*sigmas)),
            "diagonal": self._storing("diagonal", lambda x, sigma: self._evaluate(x, sigma, self.diagonal)),
            "progress": self._answering("progress", self._report),
            "forward_ad": self._answering("forward_ad", self._forward_ad),
        }
        self._callbacks = {name: Host.type_of(name)(body) for name, body in self._callbacks.items()}

    def struct(self) -> Host:
        """What the library is given."""
        host = Host.sized()
        for name, body in self._callbacks.items():
            if getattr(self, name):
                setattr(host, name, body)
        host.choice = pointer(self.choice)
        return host

    def finish(self) -> None:
        """Closes what a call that broke off has left open."""
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            self._level.close()

    def _evaluate(self, x: int, sigma: int, model: Callable[[Tensor, Tensor], Tensor] | None = None) -> Tensor:
        return (model or self.denoise)(borrow(self.handles, x), borrow(self.handles, sigma))

    def _is_odd(self, kind: str) -> bool:
        ended = self.odd and self.calls[self.odd.kind] >= self.odd.at and self.odd.answer != CONTINUE
        self.later += bool(ended) and kind != "forward_ad"
        if threading.get_ident() != self._thread:
            self.problems.append(f"{kind} was called on another thread than the call's")
        self.calls[kind] += 1
        return self.odd is not None and (self.odd.kind, self.odd.at) == (kind, self.calls[kind])

    def _storing(self, kind: str, body: Callable[..., Tensor]):
        def callback(_context, *arguments):
            try:
                odd, tensor = self._is_odd(kind), None
                if not odd:
                    tensor = body(*arguments[:-1])
                elif self.odd.tensor is not None:
                    tensor = self.odd.tensor()
                if tensor is not None:
                    arguments[-1][0] = give(tensor)
                return self.odd.answer if odd else CONTINUE
            except Exception as problem:
                self.raised.append(f"{kind}: {type(problem).__name__}: {problem}")
                return FAIL

        return callback

    def _answering(self, kind: str, body: Callable[..., None]):
        def callback(_context, *arguments):
            try:
                odd = self._is_odd(kind)
                # What is refused does not happen.
                if not (odd and kind == "forward_ad" and arguments == (1,)):
                    body(*arguments)
                return self.odd.answer if odd else CONTINUE
            except Exception as problem:
                self.raised.append(f"{kind}: {type(problem).__name__}: {problem}")
                return FAIL

        return callback

    def _forward_ad(self, is_open: int) -> None:
        if is_open not in (0, 1) or is_open == self.level_open:
            self.problems.append(f"forward_ad({is_open}) while the level was {('closed', 'open')[self.level_open]}")
        self.level_open = is_open
        if is_open:
            self._level.open()
        else:
            self._level.close()

    def _report(self, progress) -> None:
        p = progress.contents
        names = ("step", "steps", "sigma", "sigma_next", "model_evaluations", "jvps", "jvp", "reserved", "struct_size")
        report = {name: getattr(p, name) for name in names}
        report["ritz_values"] = p.ritz_values[: p.ritz_count]
        report["x"], report["denoised"] = borrow(self.handles, p.x).clone(), borrow(self.handles, p.denoised).clone()
        self.reports.append(report)


def asked(host: Host, callback: str, *arguments: Any, handles: Handles | None = None) -> Any:
    """Asks a host as an engine would: its answer, and for what stores a tensor that tensor too, or None.

    Tensors among the arguments are lent.
    """
    lent = [give(value) if isinstance(value, Tensor) else value for value in arguments]
    try:
        body = getattr(host, callback)
        if callback not in ("denoise", "noise", "diagonal"):
            return body(host.context, *lent)
        out = c_void_p()
        answer = body(host.context, *lent, byref(out))
        return answer, take(out.value) if out.value else None
    finally:
        for value, handle in zip(arguments, lent, strict=True):
            if isinstance(value, Tensor):
                handles.delete_handle(handle)


def reported(host: Host, size: int, x: Tensor, handles: Handles, ritz_values: list[float]) -> int:
    """Reports a step as a library would whose report has this size; gives the host's answer."""
    progress = Progress.sized(3, 7, 2.0, 1.0, 11, 4, 1, 0, 0.25)
    progress.x, progress.denoised = give(x), give(x)
    values = (c_double * len(ritz_values))(*ritz_values)
    progress.ritz_values, progress.ritz_count = values, len(ritz_values)
    try:
        return host.progress(host.context, with_size(progress, size))
    finally:
        handles.delete_handle(progress.x)
        handles.delete_handle(progress.denoised)
