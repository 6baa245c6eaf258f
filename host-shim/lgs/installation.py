"""What is installed here, and whether it works."""

from __future__ import annotations

from typing import Any

import torch

from ._ffi import library
from ._ffi.engine import engine
from .errors import Error


def info() -> dict[str, Any]:
    """Versions, engine, torch and devices; where the engine is not available, ``problem`` says why."""
    answer: dict[str, Any] = {"lgs": None, "engine": None, "torch": torch.__version__, "devices": [], "problem": None}
    try:
        lib = library()
        answer |= {"lgs": lib.version, "library": str(lib.file)}
        found = engine().info()
        answer |= {
            "engine": found["engine"],
            "engine_torch": found["torch"],
            "interface": found["interface"],
            "libtorch": found["libtorch"],
            "backend": found["backend"],
            "devices": found["devices"],
        }
    except Error as problem:
        answer["problem"] = str(problem)
    return answer
