"""One of the engines that the folder has for this torch, in the place of the one that would be taken."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from lgs import _ffi
from lgs._ffi import engine as engines
from lgs._ffi.engine import Engine

BIN = _ffi.HOME / "bin"


def of_this_torch() -> dict[str, dict]:
    """The entries of ``engines.json`` that serve this torch here: "tch" and "stable", as far as they are there."""
    release = ".".join(torch.__version__.split(".")[:2])
    builds = json.loads((BIN / "engines.json").read_text(encoding="utf-8"))["engines"]
    here = [build for build in builds if build["platform"] == _ffi.liblgs.platform_name()]
    named = [("stable" if build.get("and_newer") else "tch", build) for build in here]
    return {name: build for name, build in named if name == "stable" or build["torch"] == release}


def opened(build: dict, folder: Path) -> Engine:
    """The engine of this entry, out of a copy in a new folder."""
    folder.mkdir()
    shutil.copy2(BIN / build["file"], folder)
    manifest = folder / "engines.json"
    manifest.write_text(json.dumps({"format": 1, "engines": [build]}), encoding="utf-8")
    return Engine(_ffi.library(), manifest, torch.__version__)


@contextlib.contextmanager
def in_use(engine: Engine) -> Iterator[None]:
    """Within, everything goes by this engine."""
    place, before = BIN / "engines.json", engines.engine()
    engines._engines[place] = engine
    try:
        yield
    finally:
        engines._engines[place] = before
