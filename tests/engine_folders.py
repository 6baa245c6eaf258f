"""Folders with some of the engines that the assembled folder has for this system."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lgs import _ffi

BIN = _ffi.HOME / "bin"


def of_this_system() -> list[dict]:
    """The entries of the assembled ``engines.json`` for this system."""
    builds = json.loads((BIN / "engines.json").read_text(encoding="utf-8"))["engines"]
    return [build for build in builds if build["platform"] == _ffi.liblgs.platform_name()]


def stable() -> dict:
    """That of the engine on PyTorch's stable C interface."""
    [build] = [build for build in of_this_system() if build.get("and_newer")]
    return build


def folder_with(folder: Path, builds: list[dict]) -> Path:
    """Puts these entries and their files into a folder, a new one, for files that are loaded must not be written to.
    Gives its manifest."""
    for build in builds:
        shutil.copy2(BIN / build["file"], folder / build["file"])
    file = folder / "engines.json"
    file.write_text(json.dumps({"format": 1, "engines": builds}), encoding="utf-8")
    return file
