"""Compiling a program for Windows, and running it under Wine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from abi.toolchain import INCLUDE, STRICT, VALIDATOR

HERE = Path(__file__).resolve().parent
COMPILER = "x86_64-w64-mingw32-gcc"
LIBRARIES = ("-lpsapi", "-lshell32")


def compile_for_windows(*arguments: object) -> None:
    command = [COMPILER, "-std=c11", *STRICT, f"-I{INCLUDE}", f"-I{VALIDATOR}", *map(str, arguments), *LIBRARIES]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def path_in_wine(path: Path) -> str:
    """As a program under Wine names a file of this system."""
    return f"Z:{path}"


class Wine:
    """A Windows of its own, in a folder."""

    def __init__(self, folder: Path):
        # Intel's OpenMP asks Wine for the processor's topology, which it does not tell.
        self.environment = os.environ | {
            "WINEPREFIX": str(folder),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",
            "KMP_AFFINITY": "disabled",
        }
        subprocess.run(["wineboot", "--init"], env=self.environment, capture_output=True, timeout=300)

    def run(self, program: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        named = [path_in_wine(argument) if isinstance(argument, Path) else str(argument) for argument in arguments]
        command = ["wine", path_in_wine(program), *named]
        return subprocess.run(
            command, env=self.environment | environment, capture_output=True, encoding="utf-8", timeout=500
        )

    def close(self) -> None:
        subprocess.run(["wineserver", "--kill"], env=self.environment, capture_output=True, timeout=60)
