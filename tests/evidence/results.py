"""The committed results, ``results.json``: what was measured, and on what basis.

One object for each part of the laboratory (`PARTS`), in it one entry for each section. An entry is what the
section's ``measure`` gave, with ``about``: the title and the basis (versions, device, threads, day, commit). Where a
section has not been measured since the file exists, the entry is ``carried``: tables of an earlier publication, with
where they come from; the first full run of the section replaces it.

README.md beside it is printed from this file alone: see `evidence.readme`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .report import page

FOLDER = Path(__file__).parent
FILE = FOLDER / "results.json"
FIGURES = FOLDER / "figures"

PARTS = ("report", "demo", "bench", "torches")
"""What writes them: ``make`` and this word."""

Results = dict[str, dict[str, dict[str, Any]]]


def load(file: Path | None = None) -> Results:
    """All entries, by part and section; the committed ones, if no file is named."""
    file = file or FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {part: {} for part in PARTS}


def about(title: str, quick: bool = False) -> dict[str, Any]:
    """The ``about`` of an entry that is measured now."""
    return {"title": title, "basis": page.basis(quick)}


def publish(part: str, entries: dict[str, dict[str, Any]], file: Path | None = None) -> list[str]:
    """Puts entries in the place of what was known of their sections; gives the ids of those that it took.

    Left out are entries of quick and unfinished runs, and of sections that could not be measured.
    """
    taken = {
        id: entry
        for id, entry in entries.items()
        if not (entry["about"]["basis"]["quick"] or entry["about"].keys() & {"problem", "unfinished"})
    }
    if taken:
        results = load(file)
        results[part] = results.get(part, {}) | taken
        save(results, file)
    return list(taken)


def save(results: Results, file: Path | None = None) -> None:
    """Writes the file: a line for each section, so that what a run changed can be seen."""
    parts = []
    for part in PARTS:
        lines = [
            f"    {json.dumps(id)}: {json.dumps(entry, ensure_ascii=False, allow_nan=False)}"
            for id, entry in results.get(part, {}).items()
        ]
        parts.append(f"  {json.dumps(part)}: {{" + ",".join(f"\n{line}" for line in lines) + "\n  }")
    page.write(file or FILE, "{\n" + ",\n".join(parts) + "\n}\n")
