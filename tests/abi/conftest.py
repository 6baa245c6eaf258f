"""The C hosts of this folder, compiled once a session, and the libraries that they load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .toolchain import HERE, compile_c


@pytest.fixture(scope="session")
def program(tmp_path_factory) -> Callable[[str], Path]:
    """``program("host")`` is the executable of ``host.c``."""
    folder = tmp_path_factory.mktemp("programs")

    def build(name: str) -> Path:
        executable = folder / name
        if not executable.exists():
            compile_c("-g", "-o", executable, HERE / f"{name}.c", "-lm")
        return executable

    return build


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The folder of the assembled plugin that holds the libraries and ``engines.json``."""
    from lgs import _ffi

    return _ffi.library().file.parent
