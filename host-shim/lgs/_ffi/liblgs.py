"""The shared library beside this package, loaded once."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import sys
from ctypes import POINTER, byref, c_uint32, c_void_p, sizeof
from functools import cache, cached_property
from pathlib import Path

import torch

from ..errors import EngineError, error_for
from .header import ABI_VERSION, Api

# Not resolved: in the source tree the package is linked into the pack, comfyui/lgs.
PACKAGE = Path(__file__).absolute().parents[1]

INSTALLED = (PACKAGE / "bin").is_dir()
"""By pip, that is, where all lies in the package."""

HOME = PACKAGE if INSTALLED else PACKAGE.parent
"""The folder that holds ``bin/`` and ``manifests/``."""

AGAIN = (
    "Install it again: pip install --force-reinstall lgs-sampler"
    if INSTALLED
    else "Unpack the whole plugin folder again"
)


class Library:
    """The table of functions, with statuses turned into exceptions."""

    def __init__(self, file: Path):
        if not file.is_file():
            raise EngineError(f"{file}: expected the native library of LGS, found no such file. {_what_runs_here()}")
        try:
            get_api = ctypes.CDLL(_as_the_loader_takes_it(file)).lgs_get_api
        except (OSError, AttributeError) as problem:
            raise EngineError(
                f"{file}: expected the native library of LGS, got a file that cannot be loaded ({problem}). "
                f"{_what_runs_here()}"
            ) from problem
        get_api.restype = POINTER(Api)
        get_api.argtypes = [c_uint32]
        table = get_api(ABI_VERSION)
        if not table:
            raise EngineError(
                f"{file}: expected a library with version {ABI_VERSION} of the interface, which this one does not "
                f"offer: it and this Python package are of different releases. {AGAIN}."
            )
        # The size, which every struct begins with, says how many functions there are.
        if table.contents.struct_size < sizeof(Api):
            raise EngineError(
                f"{file}: expected a library with a table of {sizeof(Api)} bytes, got one of "
                f"{table.contents.struct_size}: it is older than this Python package. {AGAIN}."
            )
        self.file = file
        self.api = table.contents

    @property
    def engines(self) -> Path:
        """The manifest of the engines that lie beside it."""
        return self.file.with_name("engines.json")

    @property
    def version(self) -> str:
        return self.api.version().decode()

    @cached_property
    def options(self) -> list[dict]:
        """The options as the node manifest declares them, in its order: the inputs of LGS Sampler."""
        nodes = json.loads(self.api.manifest())["nodes"]
        return next(node["inputs"] for node in nodes if node["id"] == "LGSSampler")

    def call(self, function, *arguments) -> tuple[int, str]:
        """Calls a function whose last parameter is the error; gives its status and message."""
        error = c_void_p()
        status = function(*arguments, byref(error))
        if status == 0:
            return 0, ""
        message = self.api.error_message(error).decode()
        self.api.error_delete(error)
        return status, message

    def text(self, function, *arguments) -> str:
        """Calls a function that returns a text through its last parameter but one, the error."""
        out = c_void_p()
        status, message = self.call(function, *arguments, byref(out))
        if status:
            raise error_for(status, message)
        try:
            return ctypes.string_at(out.value).decode()
        finally:
            self.api.string_delete(out)


def _as_the_loader_takes_it(file: Path) -> str:
    """Windows loads from paths of 260 characters and more in this form alone; those that begin so, or name another
    machine, are left as they are."""
    path = os.path.abspath(file)
    long = sys.platform == "win32" and len(path) >= 260 and not path.startswith("\\\\")
    return f"\\\\?\\{path}" if long else path


def platform_name() -> str:
    """This system, as engine manifests call it."""
    system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{system}-{machine}"


def _what_runs_here() -> str:
    """What this system and torch are, what the folder is built for, and what to do."""
    try:
        engines = json.loads((HOME / "bin" / "engines.json").read_text(encoding="utf-8"))["engines"]
        built = {
            (f"{engine['torch']}{' and newer' if engine.get('and_newer') else ''}", engine["platform"])
            for engine in engines
            if engine.get("platform")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        built = set()
    listed = ", ".join(f"torch {release} on {system}" for release, system in sorted(built)) or "nothing"
    here = any(system == platform_name() for _, system in built)
    what_to_do = (
        f"{AGAIN}, or run `make build` in its source."
        if here or not built
        else 'Build it on this system: see "An engine for another PyTorch" in README.md.'
    )
    return f"This is torch {torch.__version__} on {platform_name()}, and the folder is built for {listed}. {what_to_do}"


@cache
def _load(file: Path) -> Library:
    """There may be several copies of this package in a process, in ComfyUI's pack and installed by pip: where their
    libraries are the same to the byte, all of them use the one that was loaded first."""
    if not file.is_file():
        return Library(file)  # which says so
    # Kept in torch, where every copy of this package finds it.
    loaded: dict[str, Path] = vars(torch).setdefault("_lgs_libraries", {})
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    first = loaded.get(digest, file)
    found = Library(first if first.is_file() else file)
    loaded.setdefault(digest, found.file)
    return found


def library() -> Library:
    """The library of this package, loaded at the first call; a failure is not remembered."""
    name = {"win32": "lgs.dll", "darwin": "liblgs.dylib"}.get(sys.platform, "liblgs.so")
    return _load(HOME / "bin" / name)
