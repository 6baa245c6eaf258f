"""Writes the tables of the sampler's options, wherever they stand, from ``manifests/nodes.json``.

    python host-shim/docs.py            (`make docs`)

The tables of README.md, of the help pages of LGS Sampler and of the docstring of `lgs.Options` lie between marker
lines; what is outside them is written by hand. A test runs this again and compares. Needs no package but Python's own.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SAMPLER = "LGSSampler"
HELP = Path("host-shim") / "comfyui" / "web" / "docs" / SAMPLER

Entry = dict[str, Any]

ENGLISH = {
    "head": ("input", "default", "what it does"),
    "doc": "doc",
    True: "on",
    False: "off",
}
CHINESE = {
    "head": ("输入", "默认值", "作用"),
    "doc": "doc_zh",
    True: "开",
    False: "关",
}


def node() -> Entry:
    """The sampler, as the manifest declares it."""
    nodes = json.loads((ROOT / "manifests" / "nodes.json").read_text(encoding="utf-8"))["nodes"]
    return next(node for node in nodes if node["id"] == SAMPLER)


def shown(advanced: bool) -> Iterator[Entry]:
    """Inputs that users see; sockets come last of all."""
    sampler = node()
    for entry in sampler["inputs"]:
        if entry.get("source") != "model" and entry.get("advanced", False) == advanced:
            yield entry
    if advanced:
        yield from sampler.get("sockets", [])


def markdown(entries: Iterator[Entry], words: dict) -> str:
    """A table with the node's defaults."""
    lines = ["| " + " | ".join(words["head"]) + " |", "| --- | --- | --- |"]
    for entry in entries:
        default = entry.get("recommended", entry.get("default", ""))
        cells = entry["display_name"], _value(default, words), entry[words["doc"]].replace("|", "\\|")
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
    (HELP / "en.md", "inputs", lambda: markdown(shown(advanced=False), ENGLISH)),
    (HELP / "en.md", "advanced inputs", lambda: markdown(shown(advanced=True), ENGLISH)),
    (HELP / "zh.md", "inputs", lambda: markdown(shown(advanced=False), CHINESE)),
    (HELP / "zh.md", "advanced inputs", lambda: markdown(shown(advanced=True), CHINESE)),
    (Path("host-shim") / "lgs" / "options.py", "options", docstring),
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
