"""``lgs.h`` as the program reads it that writes the binding, and what its comments show."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("bindings", ROOT / "host-shim" / "bindings.py")
bindings = sys.modules[SPEC.name] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bindings)


def sizes_in_comments() -> dict[str, int]:
    """The sizes of structs that comments show as examples, as the library's layout gives them."""
    text = bindings.HEADER.read_text(encoding="utf-8")
    return {name: int(size) for name, size in re.findall(r'"(lgs_\w+)": \{"size": (\d+)', text)}
