"""No module of the shim imports, by whatever way round, itself: not within functions, nor for type checkers alone.

    PYTHONPATH=tests python tests/shim/test_imports.py

prints the modules in an order in which each comes after all that it imports, and the circles, of which there are none.
"""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from structure.circles import circles

HOST_SHIM = Path(__file__).resolve().parents[2] / "host-shim"
PACKS = ("comfyui", "invokeai")
IN_SHIPPED = ("lgs.", *(f"{pack}." for pack in PACKS))


def modules(root: Path) -> dict[str, Path]:
    """Every module beneath a folder by its dotted name, a package by its own; links are not followed."""
    found = {}
    for file in sorted(root.rglob("*.py")):  # which does not descend into links
        parts = file.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    """The modules that one imports anywhere in its text. A package that is only on the way to a module is not counted:
    Python runs it first, but needs nothing of it."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {home(alias.name, known) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = home(f"{source}.{alias.name}", known)
                found.add(inside if inside in known else home(source, known))
    return {other for other in found if other in known and other != name}


def home(name: str, known: dict[str, Path]) -> str:
    """The name without a pack's, for what is linked into the pack: ``comfyui.lgs`` is ``lgs``."""
    pack, _, inside = name.partition(".")
    linked = inside if pack in PACKS else name
    return linked if name not in known and linked in known else name


def import_graph(root: Path = HOST_SHIM) -> dict[str, set[str]]:
    """{module: the modules that it imports}."""
    known = modules(root)
    return {name: imported(name, file, known) for name, file in known.items()}


def test_there_is_no_circle():
    assert circles(import_graph()) == []


def test_the_graph_is_that_of_the_shim():
    """Relative imports, links and packages are seen through, or there would be nothing to find."""
    graph = import_graph()
    assert len(graph) > 40 and sum(map(len, graph.values())) > 80
    assert {"lgs._torch.handles", "lgs._ffi.engine"} <= graph["lgs._ffi.callbacks"]
    assert {"lgs", "lgs._ffi.engine", "lgs.diagonal", "comfyui.nodes.schema"} <= graph["comfyui.nodes.sampler"]
    assert {"lgs", "lgs.steps_done"} <= graph["invokeai.host.pipeline"]
    assert "lgs.sampling" in graph["lgs"] and "lgs.batch.command" in graph["lgs.__main__"]


def test_every_module_is_used():
    graph = import_graph()
    used = {other for name in graph for other in graph[name]}
    packages = {name for name in graph if any(other.startswith(f"{name}.") for other in graph)}
    shipped = {name for name in graph if name.startswith(IN_SHIPPED)}
    assert shipped - used - packages == {"lgs.__main__"}


def test_rooms_keep_to_themselves():
    """Nothing of ours is needed for what is private to torch; and neither ctypes nor private names are used outside."""
    graph = import_graph()
    inside = {name for name in graph if name.startswith("lgs._torch")}
    assert {other for name in inside for other in graph[name]} <= inside
    for name, file in modules(HOST_SHIM).items():
        text = file.read_text(encoding="utf-8")
        if name.startswith(("lgs", *PACKS)) and not name.startswith(("lgs._ffi", "lgs._torch")):
            assert "ctypes" not in text, name
        if name not in inside:
            assert not re.search(r"\b(torch|forward_ad|contextlib|overrides)\._[A-Za-z]", text), name


def test_a_circle_is_found_wherever_it_is_closed(tmp_path: Path):
    texts = {
        "pack/__init__.py": "",
        "pack/a.py": "from . import b",
        "pack/b.py": "def late():\n    from .deep.c import thing",
        "pack/deep/__init__.py": "from .d import other",
        "pack/deep/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..a import something",
        "pack/deep/d.py": "import os",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert circles(import_graph(tmp_path)) == [["pack.a", "pack.b", "pack.deep.c"]]


if __name__ == "__main__":
    graph = import_graph()
    try:
        for name in TopologicalSorter(graph).static_order():
            print(name, "<-", ", ".join(sorted(graph[name])) or "nothing of ours")
    except CycleError:
        pass
    print("circles:", circles(graph) or "none")
