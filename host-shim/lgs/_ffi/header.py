"""The structs and constants of ``lgs.h``, written from it by host-shim/bindings.py (`make docs`)."""

# fmt: off

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    addressof,
    c_char_p,
    c_double,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    memmove,
    sizeof,
)

ABI_VERSION = 1
OK = 0
ERROR_INVALID_ARGUMENT = 1
ERROR_INVALID_TYPE = 2
ERROR_MANIFEST = 3
ERROR_ENGINE = 4
ERROR_MODEL_OUTPUT = 5
ERROR_HOST_FAILED = 6
ERROR_HOST_STOPPED = 7
ERROR_TORCH = 8
ERROR_INTERNAL = 9
ERROR_OUT_OF_MEMORY = 10
FAIL = 0
CONTINUE = 1
STOP = 2

JVP_NAMES = ("auto", "forward", "finite-difference", "central-difference")
"""By their numbers, `LGS_JVP_...`."""


class Struct(Structure):
    """A struct of the header, which begins with its own size."""

    @classmethod
    def sized(cls, *fields):
        """One with these fields after the size; what is not given is zero."""
        return cls(sizeof(cls), *fields)

    @classmethod
    def known(cls, pointer):
        """A copy of one that somebody else has filled, who may know fewer fields: those that are missing are zero."""
        own = cls()
        size = c_size_t.from_address(addressof(pointer.contents)).value
        memmove(addressof(own), pointer, min(size, sizeof(cls)))
        return own

    @classmethod
    def type_of(cls, name: str):
        """The type of a field."""
        return dict(cls._fields_)[name]


class Progress(Struct):
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


class Choice(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("jvp", c_int32),
        ("doubled_batch", c_int32),
        ("coarse", c_int32),
        ("reserved", c_int32),
    ]


class Host(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("context", c_void_p),
        ("denoise", CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, POINTER(c_void_p))),
        ("noise", CFUNCTYPE(c_int32, c_void_p, c_double, c_double, POINTER(c_void_p))),
        ("progress", CFUNCTYPE(c_int32, c_void_p, POINTER(Progress))),
        ("forward_ad", CFUNCTYPE(c_int32, c_void_p, c_int32)),
        ("choice", POINTER(Choice)),
        ("diagonal", CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, POINTER(c_void_p))),
    ]


class Gaussian(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("mean", c_void_p),
        ("basis", c_void_p),
        ("variances", c_void_p),
        ("rest", c_double),
    ]


class EngineConfig(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("manifest", c_char_p),
        ("torch_version", c_char_p),
        ("context", c_void_p),
        ("log", CFUNCTYPE(c_int32, c_void_p, c_int32, c_char_p)),
    ]


class Api(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("abi_version", c_uint32),
        ("reserved", c_uint32),
        ("version", CFUNCTYPE(c_char_p)),
        ("manifest", CFUNCTYPE(c_char_p)),
        ("layout", CFUNCTYPE(c_char_p)),
        ("options_check", CFUNCTYPE(c_int32, c_char_p, POINTER(c_void_p), POINTER(c_void_p))),
        ("string_delete", CFUNCTYPE(None, c_void_p)),
        ("engine_open", CFUNCTYPE(c_int32, POINTER(EngineConfig), POINTER(c_void_p), POINTER(c_void_p))),
        ("engine_info", CFUNCTYPE(c_int32, c_void_p, POINTER(c_void_p), POINTER(c_void_p))),
        ("engine_close", CFUNCTYPE(None, c_void_p)),
        ("sample", CFUNCTYPE(
            c_int32, c_void_p, c_char_p, POINTER(Host), c_void_p, POINTER(c_double), c_size_t, POINTER(c_void_p),
            POINTER(c_void_p)
        )),
        ("reverse_noise", CFUNCTYPE(
            c_int32, c_void_p, c_char_p, POINTER(Host), c_void_p, c_double, c_double, c_void_p, POINTER(c_void_p),
            POINTER(c_void_p)
        )),
        ("jvp", CFUNCTYPE(
            c_int32, c_void_p, c_char_p, POINTER(Host), c_void_p, c_double, c_void_p, POINTER(c_void_p),
            POINTER(c_void_p), POINTER(c_void_p)
        )),
        ("tensor_clone", CFUNCTYPE(c_int32, c_void_p, c_void_p, POINTER(c_void_p), POINTER(c_void_p))),
        ("tensor_delete", CFUNCTYPE(None, c_void_p, c_void_p)),
        ("error_status", CFUNCTYPE(c_int32, c_void_p)),
        ("error_message", CFUNCTYPE(c_char_p, c_void_p)),
        ("error_delete", CFUNCTYPE(None, c_void_p)),
        ("principal_components", CFUNCTYPE(
            c_int32, c_void_p, c_char_p, POINTER(Host), c_void_p, c_double, c_void_p, POINTER(c_void_p),
            POINTER(c_void_p), POINTER(c_void_p), POINTER(c_void_p)
        )),
        ("teleport", CFUNCTYPE(
            c_int32, c_void_p, c_char_p, POINTER(Gaussian), c_void_p, c_double, c_double, POINTER(c_void_p),
            POINTER(c_void_p)
        )),
    ]
