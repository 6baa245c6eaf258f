"""``lgs.h`` is all that a host needs: hosts in C, with and without torch, and under valgrind."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from lgs import _ffi

from .toolchain import compile_c, compile_cpp, run

INCLUDED_TWICE = '#include "lgs.h"\n#include "lgs.h"\n'


@pytest.mark.parametrize(("compiler", "suffix"), [(compile_c, "c"), (compile_cpp, "cpp")])
def test_the_header_stands_alone(compiler, suffix, tmp_path):
    source = tmp_path / f"source.{suffix}"
    source.write_text(INCLUDED_TWICE + "lgs_get_api_t get(void);\nlgs_get_api_t get(void) { return &lgs_get_api; }\n")
    compiler("-c", "-o", tmp_path / "object", source)


def test_a_mistake_in_a_host_does_not_compile(tmp_path):
    source = tmp_path / "source.c"
    source.write_text(INCLUDED_TWICE + "int main(void) { return (int)lgs_get_api(1)->engine_open(0, 0); }\n")
    with pytest.raises(AssertionError, match="too few arguments"):
        compile_c("-c", "-o", tmp_path / "object", source)


def passed(result, least: int) -> None:
    """That a program ended well and made at least so many checks."""
    counted = re.search(r"^(\d+) checks, 0 failures$", result.stdout, re.MULTILINE)
    assert result.returncode == 0 and counted, f"{result.stdout}{result.stderr}"
    assert int(counted[1]) >= least, result.stdout


@pytest.fixture
def host(program, binaries, tmp_path):
    return [program("host"), _ffi.library().file, binaries / "engines.json", tmp_path]


def test_every_call_that_needs_no_torch(host):
    passed(run(*host), 500)


def test_every_call_that_needs_no_torch_under_valgrind(host):
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("to look for leaks and stray reads, install valgrind (Debian: apt install valgrind)")
    leaks = ("--leak-check=full", "--errors-for-leak-kinds=definite", "--error-exitcode=99")
    result = run(valgrind, *leaks, *host)
    passed(result, 500)
    assert "definitely lost: 0 bytes" in result.stderr or "no leaks are possible" in result.stderr, result.stderr


def test_a_whole_host_in_c_samples_a_gaussian(program, binaries):
    [torch] = find_spec("torch").submodule_search_locations
    [libtorch] = [file for file in Path(torch, "lib").iterdir() if re.fullmatch(r"(lib)?torch_cpu\.\w+", file.name)]
    passed(run(program("gaussian"), _ffi.library().file, binaries / "engines.json", libtorch), 300)
