"""The structs, constants and callback types of ``lgs.h``, as they are there; ``tests/abi`` compares the two."""

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    sizeof,
)

ABI_VERSION = 1
FAIL, CONTINUE, STOP = 0, 1, 2
"""What a callback answers."""

JVP_NAMES = ("auto", "forward", "finite-difference", "central-difference")
"""By ``lgs_jvp``."""


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

    @classmethod
    def of(cls, jvp: int = 0, doubled_batch: int = 0, coarse: int = 0) -> Choice:
        """A choice for the library, which reads it and writes what it chose; 0 is undecided."""
        return cls(sizeof(cls), jvp, doubled_batch, coarse)


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
