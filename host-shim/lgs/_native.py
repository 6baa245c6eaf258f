"""liblgs through ctypes: the structs of ``lgs.h``, and the library loaded once."""

from __future__ import annotations

import ctypes
import sys
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from pathlib import Path

from .errors import EngineError, error_for

ABI_VERSION = 1
FAIL, CONTINUE, STOP = 0, 1, 2
JVP_NAMES = ("auto", "forward", "finite-difference", "central-difference")

HOME = Path(__file__).resolve().parent.parent
"""The folder that holds this package, ``bin/`` and ``manifests/``."""


class Progress(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_uint64),
        ("steps", c_uint64),
        ("sigma", c_double),
        ("sigma_next", c_double),
        ("model_evaluations", c_uint64),
        ("jvps", c_uint64),
        ("jvp", c_int32),
        ("reserved", c_int32),
        ("lanczos_error", c_double),
        ("x", c_void_p),
        ("denoised", c_void_p),
        ("covariance_share", c_double),
        ("noise_variance", c_double),
        ("ritz_values", POINTER(c_double)),
        ("ritz_count", c_uint64),
    ]


DenoiseCallback = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, POINTER(c_void_p))
NoiseCallback = CFUNCTYPE(c_int32, c_void_p, c_double, c_double, POINTER(c_void_p))
ProgressCallback = CFUNCTYPE(c_int32, c_void_p, POINTER(Progress))
ForwardAdCallback = CFUNCTYPE(c_int32, c_void_p, c_int32)
LogCallback = CFUNCTYPE(c_int32, c_void_p, c_int32, c_char_p)


class Choice(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("jvp", c_int32),
        ("doubled_batch", c_int32),
        ("coarse", c_int32),
        ("reserved", c_int32),
    ]


class Host(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("context", c_void_p),
        ("denoise", DenoiseCallback),
        ("noise", NoiseCallback),
        ("progress", ProgressCallback),
        ("forward_ad", ForwardAdCallback),
        ("choice", POINTER(Choice)),
        ("diagonal", DenoiseCallback),
    ]


class EngineConfig(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("manifest", c_char_p),
        ("torch_version", c_char_p),
        ("context", c_void_p),
        ("log", LogCallback),
    ]


def _function(*arguments, result=c_int32):
    return CFUNCTYPE(result, *arguments)


_ERROR = POINTER(c_void_p)


class Api(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("abi_version", c_uint32),
        ("reserved", c_uint32),
        ("version", _function(result=c_char_p)),
        ("manifest", _function(result=c_char_p)),
        ("layout", _function(result=c_char_p)),
        ("options_check", _function(c_char_p, POINTER(c_void_p), _ERROR)),
        ("string_delete", _function(c_void_p, result=None)),
        ("engine_open", _function(POINTER(EngineConfig), POINTER(c_void_p), _ERROR)),
        ("engine_info", _function(c_void_p, POINTER(c_void_p), _ERROR)),
        ("engine_close", _function(c_void_p, result=None)),
        (
            "sample",
            _function(
                c_void_p, c_char_p, POINTER(Host), c_void_p, POINTER(c_double), c_size_t, POINTER(c_void_p), _ERROR
            ),
        ),
        (
            "reverse_noise",
            _function(
                c_void_p, c_char_p, POINTER(Host), c_void_p, c_double, c_double, c_void_p, POINTER(c_void_p), _ERROR
            ),
        ),
        (
            "jvp",
            _function(
                c_void_p,
                c_char_p,
                POINTER(Host),
                c_void_p,
                c_double,
                c_void_p,
                POINTER(c_void_p),
                POINTER(c_void_p),
                _ERROR,
            ),
        ),
        ("tensor_clone", _function(c_void_p, c_void_p, POINTER(c_void_p), _ERROR)),
        ("tensor_delete", _function(c_void_p, c_void_p, result=None)),
        ("error_status", _function(c_void_p)),
        ("error_message", _function(c_void_p, result=c_char_p)),
        ("error_delete", _function(c_void_p, result=None)),
        (
            "principal_components",
            _function(
                c_void_p,
                c_char_p,
                POINTER(Host),
                c_void_p,
                c_double,
                c_void_p,
                POINTER(c_void_p),
                POINTER(c_void_p),
                POINTER(c_void_p),
                _ERROR,
            ),
        ),
    ]


class Library:
    """The table of functions, with statuses turned into exceptions."""

    def __init__(self, file: Path):
        if not file.is_file():
            raise EngineError(
                f"{file}: expected the native library of LGS for this platform, found no such file. Unpack the whole "
                "plugin folder again, or run `make build` in its source."
            )
        try:
            get_api = ctypes.CDLL(str(file)).lgs_get_api
        except (OSError, AttributeError) as problem:
            raise EngineError(
                f"{file}: expected the native library of LGS for this platform, got a file that cannot be loaded "
                f"({problem}). Unpack the whole plugin folder again, or run `make build` in its source."
            ) from problem
        get_api.restype = POINTER(Api)
        get_api.argtypes = [c_uint32]
        table = get_api(ABI_VERSION)
        if not table:
            raise EngineError(
                f"{file}: expected a library with version {ABI_VERSION} of the interface, which this one does not "
                "offer: it and this Python package are of different releases. Unpack the whole plugin folder again."
            )
        self.file = file
        self.api = table.contents

    @property
    def version(self) -> str:
        return self.api.version().decode()

    def call(self, function, *arguments) -> tuple[int, str]:
        """Calls a function whose last parameter is the error; gives its status and message."""
        error = c_void_p()
        status = function(*arguments, byref(error))
        if status == 0:
            return 0, ""
        message = self.api.error_message(error).decode()
        self.api.error_delete(error)
        return status, message

    def text(self, function, *arguments) -> str:
        """Calls a function that returns a text through its last parameter but one, the error."""
        out = c_void_p()
        status, message = self.call(function, *arguments, byref(out))
        if status:
            raise error_for(status, message)
        try:
            return ctypes.string_at(out.value).decode()
        finally:
            self.api.string_delete(out)


@cache
def _load(file: Path) -> Library:
    return Library(file)


def library() -> Library:
    """The library beside this package, loaded at the first call; a failure is not remembered."""
    name = {"win32": "lgs.dll", "darwin": "liblgs.dylib"}.get(sys.platform, "liblgs.so")
    return _load(HOME / "bin" / name)
