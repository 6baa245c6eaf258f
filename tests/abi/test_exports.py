"""What the libraries show and what they need: one symbol, no libtorch for liblgs, no path of a build machine."""

from __future__ import annotations

import re
import shutil
import sys

import pytest

from lgs import _ffi

from .toolchain import run

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files, which only Linux has"),
    pytest.mark.skipif(not (shutil.which("nm") and shutil.which("readelf")), reason="needs nm and readelf of binutils"),
]


def dynamic(file) -> list[tuple[str, str]]:
    """The dynamic section: (tag, value) of what is given by name."""
    result = run("readelf", "--dynamic", "--wide", file)
    assert result.returncode == 0, result.stderr
    return re.findall(r"\((\w+)\)[^\[\n]*\[(.*?)\]", result.stdout)


def test_one_exported_symbol():
    result = run("nm", "--dynamic", "--defined-only", "--format=posix", _ffi.library().file)
    assert result.returncode == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["lgs_get_api"]


def test_liblgs_needs_the_system_alone():
    needed = {value for tag, value in dynamic(_ffi.library().file) if tag == "NEEDED"}
    system = re.compile(r"(libgcc_s|libc|libm|libdl|libpthread|librt|ld-linux-[\w-]+)\.so\.\d+")
    assert needed and all(map(system.fullmatch, needed)), needed


def test_an_engine_needs_libtorch_for_the_cpu_and_nothing_of_cuda_or_python(binaries):
    files = list(binaries.glob("liblgs_engine-torch*.so"))
    for file in files:
        needed = {value for tag, value in dynamic(file) if tag == "NEEDED"}
        assert {"libtorch_cpu.so", "libc10.so"} <= needed
        assert not [name for name in needed if re.search("cuda|python|libtorch_python", name)], needed
    assert files


def test_no_library_is_looked_for_where_it_was_on_the_build_machine(binaries):
    for file in binaries.glob("*.so"):
        assert not [value for tag, value in dynamic(file) if tag in ("RPATH", "RUNPATH")], file.name
