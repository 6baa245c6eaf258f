"""The C programs of this folder, compiled once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .header import bindings
from .toolchain import HERE, VALIDATOR, compile_c


def structs_in_c() -> str:
    """What ``layout.c`` includes: every field of every struct, for the compiler to say where it lies."""
    lines = []
    for tag, fields in bindings.structs().items():
        listed = "".join(f"    FIELD({tag}_t, {field.name}),\n" for field in fields)
        lines.append(f"static const struct field {tag}_fields[] = {{\n{listed}}};\n")
    tags = list(bindings.structs())
    each = " ".join(f'DO({tag}, "{"" if tag == tags[-1] else ", "}")' for tag in tags)
    return "\n".join([*lines, f"#define STRUCTS(DO) {each}\n"])


@pytest.fixture(scope="session")
def program(tmp_path_factory) -> Callable[[str], Path]:
    """``program("layout")`` is the executable of ``layout.c``."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "structs.inc").write_text(structs_in_c())

    def build(name: str) -> Path:
        executable = folder / name
        if not executable.exists():
            opening = VALIDATOR / "library.c"
            compile_c("-g", "-I", folder, "-I", VALIDATOR, "-o", executable, HERE / f"{name}.c", opening)
        return executable

    return build


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The folder of the assembled plugin that holds the libraries and ``engines.json``."""
    from lgs import _ffi

    return _ffi.library().file.parent
