"""Writes the tables of the nodes' inputs and outputs, wherever they stand, from ``manifests/nodes.json``.

    python host-shim/docs.py            (`make docs`)

The tables of README.md, of the nodes' help pages and of the docstring of `lgs.Options` lie between marker
lines; what is outside them is written by hand. A test runs this again and compares. Needs no package but Python's own.
"""

from __future__ import annotations

import functools
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SAMPLER = "LGSSampler"
HELP = Path("host-shim") / "comfyui" / "web" / "docs"

Entry = dict[str, Any]

ENGLISH = {
    "head": ("input", "default", "what it does"),
    "sockets": ("input", "what it is"),
    "outputs": ("output", "what it is"),
    "doc": "doc",
    True: "on",
    False: "off",
}
CHINESE = {
    "head": ("输入", "默认值", "作用"),
    "sockets": ("输入", "说明"),
    "outputs": ("输出", "说明"),
    "doc": "doc_zh",
    True: "开",
    False: "关",
}


def nodes() -> dict[str, Entry]:
    """Every node as the manifest declares it, by its id."""
    declared = json.loads((ROOT / "manifests" / "nodes.json").read_text(encoding="utf-8"))["nodes"]
    return {node["id"]: node for node in declared}


def node() -> Entry:
    """The sampler."""
    return nodes()[SAMPLER]


def shown(advanced: bool) -> Iterator[Entry]:
    """Inputs that users see; sockets come last of all."""
    sampler = node()
    for entry in sampler["inputs"]:
        if "source" not in entry and entry.get("advanced", False) == advanced:
            yield with_modes(entry)
    if advanced:
        yield from sampler.get("sockets", [])


def with_modes(entry: Entry) -> Entry:
    """The input as the node shows it: its modes, if it has any, in front of its own choices."""
    if not (modes := entry.get("modes")):
        return entry
    texts = {key: " ".join([*(mode[key] for mode in modes.values()), entry[key]]) for key in ("doc", "doc_zh")}
    return entry | texts | {"recommended": next(iter(modes))}


def markdown(entries: Iterable[Entry], words: dict) -> str:
    """A table of inputs with the node's defaults."""
    return _table(
        words["head"],
        ((entry, _value(entry.get("recommended", entry.get("default", "")), words)) for entry in entries),
        words,
    )


def inputs(id: str, words: dict) -> str:
    """All inputs of a node; without defaults where it has none but sockets."""
    entries = [entry for entry in nodes()[id]["inputs"] if "source" not in entry]
    sockets = nodes()[id].get("sockets", [])
    return (
        markdown([*entries, *sockets], words) if entries else _table(words["sockets"], ((s,) for s in sockets), words)
    )


def outputs(id: str, words: dict) -> str:
    return _table(words["outputs"], ((entry,) for entry in nodes()[id]["outputs"]), words)


def _table(head: tuple[str, ...], rows: Iterable[tuple[Entry, *tuple[str, ...]]], words: dict) -> str:
    """Each row is an entry, and what stands between its name and what is said of it."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for entry, *middle in rows:
        said = entry[words["doc"]] if words is CHINESE else entry.get("doc", entry.get("tooltip"))
        cells = entry["display_name"], *middle, said.replace("|", "\\|")
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)


def _value(value: Any, words: dict) -> str:
    return words[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


WIDTHS = 26, 64, 13
"""Of the columns of a docstring's table."""


def docstring() -> str:
    """The options of `lgs.Options` with the library's defaults, as a simple table of reStructuredText."""
    names = {entry["display_name"]: entry["id"] for entry in [*node()["inputs"], *node().get("sockets", [])]}
    rule = " ".join("=" * width for width in WIDTHS)
    lines = [rule, _row("option", "values", "default"), rule]
    for entry in node()["inputs"]:
        text = re.sub(r"\*([^*]+)\*", lambda found: f"``{names[found[1]]}``", entry["doc"])
        text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r'``"\1"``', text)
        if entry["type"] in ("INT", "FLOAT"):
            text = f"{entry['min']:g} to {entry['max']:g}. {text}"
        wrapped = textwrap.wrap(text, WIDTHS[1], break_long_words=False, break_on_hyphens=False)
        default = entry["default"]
        default = f'``"{default}"``' if isinstance(default, str) else f"``{default}``"
        lines.append(_row(f"``{entry['id']}``", wrapped[0], default))
        lines += [_row("", line, "") for line in wrapped[1:]]
    return "\n".join(f"    {line}" for line in [*lines, rule])


def _row(*cells: str) -> str:
    return " ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def begin(name: str) -> str:
    return f"{name}: from manifests/nodes.json by `make docs`"


TABLES: list[tuple[Path, str, Callable[[], str]]] = [
    (Path("README.md"), "inputs", lambda: markdown(shown(advanced=False), ENGLISH)),
    (HELP / SAMPLER / "en.md", "inputs", lambda: markdown(shown(advanced=False), ENGLISH)),
    (HELP / SAMPLER / "en.md", "advanced inputs", lambda: markdown(shown(advanced=True), ENGLISH)),
    (HELP / SAMPLER / "zh.md", "inputs", lambda: markdown(shown(advanced=False), CHINESE)),
    (HELP / SAMPLER / "zh.md", "advanced inputs", lambda: markdown(shown(advanced=True), CHINESE)),
    (Path("host-shim") / "lgs" / "options.py", "options", docstring),
]
TABLES += [
    (HELP / id / file, name, functools.partial(table, id, words))
    for id in nodes()
    if id != SAMPLER
    for file, words in (("en.md", ENGLISH), ("zh.md", CHINESE))
    for name, table in (("inputs", inputs), ("outputs", outputs))
    if not (id == "LGSLoadDiagonal" and name == "outputs")  # of one output its page says more
]
"""File, the name in the markers, and what is between them."""


def written(file: Path, name: str, table: str, text: str) -> str:
    """The text of a file with the table between its markers; ValueError where these are not there once each."""
    if file.suffix == ".md":
        first, last = f"<!-- {begin(name)} -->\n\n", f"\n\n<!-- {name}: end -->"
    else:
        first, last = f"    .. {begin(name)}\n\n", f"\n\n    .. {name}: end"
    if text.count(first) != 1 or text.count(last) != 1:
        raise ValueError(f"{file}: expected the lines {first.strip()!r} and {last.strip()!r} once each")
    before, rest = text.split(first)
    return before + first + table + last + rest.split(last)[1]


def files() -> dict[Path, str]:
    """Every file that has a table, as it should be."""
    texts: dict[Path, str] = {}
    for file, name, table in TABLES:
        text = texts.get(file) or (ROOT / file).read_text(encoding="utf-8")
        texts[file] = written(file, name, table(), text)
    return texts


def main() -> None:
    for file, text in files().items():
        if (ROOT / file).read_text(encoding="utf-8") != text:
            (ROOT / file).write_text(text, encoding="utf-8")
            print(f"wrote {file}")


if __name__ == "__main__":
    main()
