"""One layout: the header's as a C compiler sees it, the library's own, and that of the Python binding."""

from __future__ import annotations

import ctypes
import json

import pytest

from lgs import _ffi, errors

from . import header
from .toolchain import run

STRUCTS = {tag: getattr(_ffi.header, header.bindings.class_name(tag)) for tag in header.bindings.structs()}


@pytest.fixture(scope="module")
def printed(program):
    result = run(program("layout"), _ffi.library().file)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def library(printed):
    """What the library says: {struct: {"size": ..., "fields": {name: offset}}}."""
    return printed["library"]


def offsets(compiled: dict) -> dict:
    return {
        name: {"size": struct["size"], "fields": {field: offset for field, (offset, _) in struct["fields"].items()}}
        for name, struct in compiled.items()
    }


def test_the_c_compiler_and_the_library_agree(printed, library):
    assert offsets(printed["c"]) == library
    assert set(library) == set(STRUCTS)


def test_every_field_of_the_header_is_there_in_its_order(library):
    structs = header.bindings.structs()
    assert sum(map(len, structs.values())) > 40
    assert {name: [field.name for field in fields] for name, fields in structs.items()} == {
        name: list(struct["fields"]) for name, struct in library.items()
    }


def test_the_header_s_comments_show_what_is_so(library):
    shown = header.sizes_in_comments()
    assert shown and shown == {name: library[name]["size"] for name in shown}


def test_no_field_hides_in_padding(printed):
    for name, struct in printed["c"].items():
        end = 0
        for field, (offset, size) in struct["fields"].items():
            assert offset == end, f"{name}.{field}"
            end = offset + size
        assert end == struct["size"], name


def test_a_difference_would_be_seen(printed, library):
    moved = json.loads(json.dumps(library))
    moved["lgs_host"]["fields"]["noise"] += 8
    less = json.loads(json.dumps(library))
    del less["lgs_api"]["fields"]["error_delete"]
    for other in (moved, less):
        assert offsets(printed["c"]) != other


def test_the_python_binding_agrees(library):
    assert {
        name: {
            "size": ctypes.sizeof(struct),
            "fields": {field: getattr(struct, field).offset for field, _ in struct._fields_},
        }
        for name, struct in STRUCTS.items()
    } == library


POINTER = ctypes.POINTER(ctypes.c_void_p)
CTYPES = {
    "void": {None},
    "const char*": {ctypes.c_char_p},
    "char*": {ctypes.c_void_p},
    "void*": {ctypes.c_void_p},
    "lgs_tensor_t": {ctypes.c_void_p},
    "lgs_engine_t*": {ctypes.c_void_p},
    "const lgs_engine_t*": {ctypes.c_void_p},
    "lgs_error_t*": {ctypes.c_void_p},
    "const lgs_error_t*": {ctypes.c_void_p},
    "char**": {POINTER},
    "lgs_tensor_t*": {POINTER},
    "lgs_engine_t**": {POINTER},
    "lgs_error_t**": {POINTER},
    "const double*": {ctypes.POINTER(ctypes.c_double)},
    "lgs_status_t": {ctypes.c_int32},
    "lgs_signal_t": {ctypes.c_int32},
    "int32_t": {ctypes.c_int32},
    "uint32_t": {ctypes.c_uint32},
    "uint64_t": {ctypes.c_uint64},
    "size_t": {ctypes.c_size_t},
    "double": {ctypes.c_double},
}
CTYPES |= {f"{const}{tag}_t*": {ctypes.POINTER(struct)} for tag, struct in STRUCTS.items() for const in ("", "const ")}
"""What stands for a C type in the binding. A ``char *`` that has to be given back is a plain pointer there."""


@pytest.mark.parametrize("file", header.bindings.WRITTEN, ids=str)
def test_bindings_are_what_is_written_from_the_header(file):
    written = header.bindings.WRITTEN[file]()
    assert (header.ROOT / file).read_text(encoding="utf-8") == written, "write it again: make docs"


@pytest.mark.parametrize("name", STRUCTS)
def test_the_python_binding_has_the_header_s_types(name):
    for field, (_, bound) in zip(header.bindings.structs()[name], STRUCTS[name]._fields_, strict=True):
        if field.parameters is None:
            assert bound in CTYPES[field.type], f"{name}.{field.name}"
            continue
        assert bound._restype_ in CTYPES[field.type], f"{name}.{field.name}"
        assert len(bound._argtypes_) == len(field.parameters), f"{name}.{field.name}"
        for position, (parameter, argument) in enumerate(zip(field.parameters, bound._argtypes_, strict=True)):
            assert argument in CTYPES[parameter], f"{name}.{field.name}, parameter {position}"


def test_the_python_binding_has_the_header_s_constants():
    constants = header.bindings.constants()
    assert constants["LGS_ABI_VERSION"] == _ffi.ABI_VERSION
    assert [constants[f"LGS_{name}"] for name in ("FAIL", "CONTINUE", "STOP")] == [
        _ffi.FAIL,
        _ffi.CONTINUE,
        _ffi.STOP,
    ]
    jvp = {name: value for name, value in constants.items() if name.startswith("LGS_JVP_")}
    assert jvp == {f"LGS_JVP_{name.upper().replace('-', '_')}": i for i, name in enumerate(_ffi.JVP_NAMES)}
    kinds = {
        "INVALID_ARGUMENT": errors.InvalidArgument,
        "INVALID_TYPE": errors.InvalidType,
        "MANIFEST": errors.EngineError,
        "ENGINE": errors.EngineError,
        "MODEL_OUTPUT": errors.ModelOutputError,
        "TORCH": errors.TorchError,
        "INTERNAL": errors.InternalError,
        "OUT_OF_MEMORY": errors.OutOfMemory,
    }
    statuses = {name.removeprefix("LGS_ERROR_"): v for name, v in constants.items() if name.startswith("LGS_ERROR_")}
    assert statuses.pop("HOST_FAILED") == errors.HOST_FAILED
    assert statuses.pop("HOST_STOPPED") == errors.HOST_STOPPED
    assert {name: type(errors.error_for(status, "")) for name, status in statuses.items()} == kinds


def test_version_and_manifest_are_those_of_the_binding(printed):
    assert printed["version"] == _ffi.library().version
    assert {"LGSSampler", "LGSDemoModel"} <= {node["id"] for node in printed["manifest"]["nodes"]}
