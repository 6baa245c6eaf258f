"""What the DLLs are, what they import, and what they export."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

OF_WINDOWS = re.compile(
    r"kernel32|ntdll|msvcrt|userenv|ws2_32|advapi32|bcrypt|bcryptprimitives|api-ms-win-core-[\w-]+", re.IGNORECASE
)
"""Libraries of every Windows 10 and 11."""


@pytest.fixture(params=["lgs.dll", "lgs_engine-stable.dll"])
def dll(request, binaries, compiler) -> Path:
    return binaries / request.param


def objdump(file: Path) -> str:
    return subprocess.run(["x86_64-w64-mingw32-objdump", "-p", file], capture_output=True, text=True, check=True).stdout


def test_it_is_a_64_bit_dll(dll):
    text = objdump(dll)
    assert "file format pei-x86-64" in text
    characteristics = re.search(r"^Characteristics 0x(\w+)", text, re.MULTILINE)
    assert int(characteristics[1], 16) & 0x2000  # IMAGE_FILE_DLL


def test_it_imports_windows_own_libraries_alone(dll):
    imported = re.findall(r"DLL Name: (.+)\.dll$", objdump(dll), re.MULTILINE)
    assert imported and [name for name in imported if not OF_WINDOWS.fullmatch(name)] == []


def test_it_exports_one_symbol(dll):
    exported = re.findall(r"^\t\[\s*\d+\] \+base\[\s*\d+\]\s+\w+ (\S+)$", objdump(dll), re.MULTILINE)
    exported = exported or re.findall(r"^\s*\[\s*\d+\]\s+(\S+)$", objdump(dll), re.MULTILINE)
    assert exported == (["lgs_get_api"] if dll.name == "lgs.dll" else ["_1as_0lib_1header_0root_bmodule_bloader"])


def test_the_manifest_has_it_beside_those_for_linux(binaries):
    engines = json.loads((binaries / "engines.json").read_text())["engines"]
    platforms = [engine["platform"] for engine in engines if engine.get("and_newer")]
    assert {"linux-x86_64", "windows-x86_64"} <= set(platforms) and len(platforms) == len(set(platforms))
