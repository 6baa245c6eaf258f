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
    libraries = ["-lpsapi", "-lshell32"] if sys.platform == "win32" else ["-lm", "-lpthread"]
    compile_c("-g", "-o", executable, *sorted(VALIDATOR.glob("*.c")), *libraries)
    return executable


@pytest.fixture(scope="session")
def broken(tmp_path_factory) -> Path:
    """A library that has the fault of the variable LGS_FAULT, and none without."""
    library = tmp_path_factory.mktemp("broken") / "libbroken.so"
    sources = (HERE / "broken.c", VALIDATOR / "library.c")
    of_posix = ["-D_DEFAULT_SOURCE", "-D_DARWIN_C_SOURCE", "-fPIC", "-lpthread", "-ldl"]
    compile_c("-I", VALIDATOR, "-shared", "-o", library, *sources, *([] if sys.platform == "win32" else of_posix))
    return library
