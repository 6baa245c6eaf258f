"""No circles: each module of the Rust crates knows of modules below it alone.

    PYTHONPATH=tests python -m structure.rust_imports

prints who uses whom.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from . import rust_imports
from .circles import circles

CRATES = sorted(rust_imports.ROOT.glob("plugin/**/src/lib.rs"))


@pytest.mark.parametrize("library", CRATES, ids=lambda library: library.parents[1].name)
def test_no_module_uses_itself_by_a_detour(library: Path):
    uses = rust_imports.uses(library.parent)
    assert len(uses) > 3 and sum(map(len, uses.values())) >= len(uses) / 2, "or nothing was read"
    assert circles(uses) == []


def test_rooms_of_the_engine_have_no_circles_either():
    uses = rust_imports.uses(rust_imports.ROOT / "plugin" / "engine" / "src")
    rooms: dict[str, set[str]] = {}
    for module, used in uses.items():
        room = module.split("::")[0]
        rooms.setdefault(room, set()).update(other.split("::")[0] for other in used)
        rooms[room].discard(room)
    assert circles(rooms) == []


def test_a_circle_would_be_seen(tmp_path: Path):
    (tmp_path / "lib.rs").write_text("pub mod a;\npub mod b;\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mod.rs").write_text("mod inner;\nuse self::inner::x;\n")
    (tmp_path / "a" / "inner.rs").write_text("use crate::{b::{self, y}, c};\n")
    (tmp_path / "b.rs").write_text("fn y() { super::a::z() }\n")
    (tmp_path / "c.rs").write_text("// use crate::b;\n")
    uses = rust_imports.uses(tmp_path)
    assert uses == {"a": {"a::inner"}, "a::inner": {"b", "c"}, "b": {"a"}, "c": set()}
    assert circles(uses) == [["a", "a::inner", "b"]]
