"""One of the engines that the folder has for this torch, in the place of the one that would be taken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from engine_folders import BIN, folder_with, of_this_system
from lgs import _ffi
from lgs._ffi import engine as engines
from lgs._ffi.engine import Engine


def of_this_torch() -> dict[str, dict]:
    """The entries of ``engines.json`` that serve this torch here: "tch" and "stable", as far as they are there."""
    release = ".".join(torch.__version__.split(".")[:2])
    named = [("stable" if build.get("and_newer") else "tch", build) for build in of_this_system()]
    return {name: build for name, build in named if name == "stable" or build["torch"] == release}


def opened(build: dict, folder: Path) -> Engine:
    """The engine of this entry, out of a copy in a new folder."""
    folder.mkdir()
    return Engine(_ffi.library(), folder_with(folder, [build]), torch.__version__)


@contextlib.contextmanager
def in_use(engine: Engine) -> Iterator[None]:
    """Within, everything goes by this engine."""
    place, before = BIN / "engines.json", engines.engine()
    engines._engines[place] = engine
    try:
        yield
    finally:
        engines._engines[place] = before
