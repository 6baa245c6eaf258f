"""The validator in C and the broken libraries, compiled once a session."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from abi.toolchain import VALIDATOR, compile_c

from lgs import _ffi

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def manifest() -> Path:
    return _ffi.library().file.parent / "engines.json"


@pytest.fixture(scope="session")
def libtorch() -> Path:
    [torch] = find_spec("torch").submodule_search_locations
    [library] = [file for file in Path(torch, "lib").iterdir() if re.fullmatch(r"(lib)?torch_cpu\.\w+", file.name)]
    return library


@pytest.fixture(scope="session")
def validator(tmp_path_factory) -> Path:
    """The program, as its own comment says that it is built."""
    executable = tmp_path_factory.mktemp("validator") / "lgs-validate"
    libraries = ["-lm", *(["-lpthread"] if sys.platform != "win32" else [])]
    compile_c("-g", "-o", executable, *sorted(VALIDATOR.glob("*.c")), *libraries)
    return executable


@pytest.fixture(scope="session")
def broken(tmp_path_factory) -> Path:
    """A library that has the fault of the variable LGS_FAULT, and none without."""
    if sys.platform == "win32":
        pytest.skip("the broken libraries are made of POSIX's functions: run this on Linux or macOS")
    library = tmp_path_factory.mktemp("broken") / "libbroken.so"
    compile_c("-D_DEFAULT_SOURCE", "-shared", "-fPIC", "-o", library, HERE / "broken.c", "-lpthread", "-ldl")
    return library
