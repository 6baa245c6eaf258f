"""The C and C++ compilers, as strict as they go, and running what they make."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLUGIN = HERE.parent.parent / "plugin"
INCLUDE = PLUGIN / "include"
VALIDATOR = PLUGIN / "validator"
"""The program that takes a library through the contract of the header, in C."""
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


def compile_c(*arguments: object) -> None:
    """The C compiler, or its complaints as the failure."""
    _compile(os.environ.get("CC", "cc"), "-std=c11", *arguments)


def compile_cpp(*arguments: object) -> None:
    """The C++ compiler, or its complaints as the failure."""
    _compile(os.environ.get("CXX", "c++"), "-std=c++17", *arguments)


def _compile(compiler: str, *arguments: object) -> None:
    command = [*compiler.split(), *STRICT, f"-I{INCLUDE}", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stderr}"


def run(*command: object, timeout: float = 120) -> subprocess.CompletedProcess:
    """Runs a program that must find its libraries by itself: as a host does, with no help for the loader."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=timeout)
