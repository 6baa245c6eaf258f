"""A libtorch that has not all that an engine needs: what it lacks is named, and the program goes on."""

from __future__ import annotations

import sys

import pytest

import engine_folders
from engine_folders import folder_with
from lgs import _ffi

from .toolchain import compile_c, run

NAME = {"darwin": "libtorch_cpu.dylib"}.get(sys.platform, "libtorch_cpu.so")
VERSION = "unsigned long long aoti_torch_abi_version(void);\n"
VERSION += "unsigned long long aoti_torch_abi_version(void) { return 0x%02x%02x000000000000ull; }\n"


@pytest.fixture
def libtorch(tmp_path):
    """``libtorch(2, 12, "a", "b")``: a library that says to be this release, and has these functions beside."""
    if sys.platform == "win32":
        pytest.skip("a libtorch of a few functions is made with the C compiler of a POSIX system")

    def make(major: int, minor: int, *functions: str):
        declared = "".join(f"int {name}(void);\nint {name}(void) {{ return 1; }}\n" for name in functions)
        (tmp_path / "libtorch.c").write_text(VERSION % (major, minor) + declared)
        compile_c("-shared", "-fPIC", "-o", tmp_path / NAME, tmp_path / "libtorch.c")
        return tmp_path / NAME

    return make


@pytest.fixture
def stable(tmp_path):
    """The manifest of a folder with nothing but the stable engine."""
    return folder_with(tmp_path, [engine_folders.stable()])


def test_what_it_lacks_is_named(program, stable, libtorch):
    there = ("torch_call_dispatcher", "aoti_torch_get_dim")
    done = run(program("open_engine"), _ffi.library().file, stable, libtorch(2, 12, *there))
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "torch 2.12" in said and "expected a libtorch with PyTorch's stable C interface (2.10 or newer)" in said
    without = said.partition("got one without ")[2].strip().split(", ")
    assert len(without) > 30 and {"torch_list_push_back", "aoti_torch_get_sizes"} <= set(without)
    assert not {*there, "aoti_torch_abi_version"} & set(without)


def test_one_that_is_older_is_not_tried(program, stable, libtorch):
    done = run(program("open_engine"), _ffi.library().file, stable, libtorch(2, 8))
    assert "no engine for torch 2.8" in done.stdout and "Install torch 2.10 or newer" in done.stdout
