"""Prints the committed results: README.md beside this file, and the table in the README of the whole.

    PYTHONPATH=tests python -m evidence.readme

Measures nothing. ``make report`` and ``make bench`` call it after a full run, and a test calls it again and compares.
Figures are drawn anew from the numbers of `evidence.results`; those of carried sections stay as they are.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import jinja2

from . import front, results, sections
from .report import page
from .report.run import Figure, Findings, Table

README = results.FOLDER / "README.md"


def write(found: results.Results | None = None) -> None:
    """Writes both pages and the figures."""
    found = results.load() if found is None else found
    with tempfile.TemporaryDirectory() as folder:
        text, figures = render(found, Path(folder))
        results.FIGURES.mkdir(exist_ok=True)
        for figure in figures:
            # Those of carried sections, and the demo's pictures, are not drawn from numbers.
            if figure.exists():
                shutil.copy(figure, results.FIGURES)
        for old in {file.name for file in results.FIGURES.iterdir()} - {figure.name for figure in figures}:
            (results.FIGURES / old).unlink()
    page.write(README, text)
    page.write(front.README, front.filled(front.README.read_text(encoding="utf-8"), found))


def render(found: results.Results, folder: Path) -> tuple[str, list[Path]]:
    """The evidence as a page of Markdown, and the figures that it shows, drawn into a folder."""
    chapters = {
        part: [
            chapter(part, id, entries[id], folder) if id in (entries := found.get(part, {})) else missing(part, id)
            for id in modules
        ]
        for part, modules in sections.MODULES.items()
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markdown
    environment.filters["basis"] = basis
    figures = [figure.file for of in chapters.values() for one in of if one.findings for figure in one.findings.figures]
    return environment.get_template("README.md.j2").render(chapters=chapters), figures


def chapter(part: str, id: str, entry: dict, folder: Path) -> page.Chapter:
    """A section as it was measured, or as it was carried over."""
    section = sections.load(part, id)
    if "carried" not in entry:
        return page.chapter(section, entry, folder)
    carried = entry["carried"]
    found = Findings(
        [],
        [Figure(folder / figure["file"], figure["title"], figure["caption"]) for figure in carried["figures"]],
        [
            Table(table["title"], tuple(table["head"]), [tuple(row) for row in table["rows"]])
            for table in carried["tables"]
        ],
    )
    basis = {"carried": carried["from"]}
    return page.Chapter(id, section.title, section.question, basis, found, remarks=section.remarks)


def missing(part: str, id: str) -> page.Chapter:
    section = sections.load(part, id)
    return page.Chapter(id, section.title, section.question, {}, problem=f"`make {part}` has yet to measure it")


def markdown(table: Table) -> str:
    """A table of Markdown; a long one is folded."""
    lines = [_row(table.head), _row(["---"] * len(table.head)), *(_row(row) for row in table.rows)]
    text = "\n".join(lines)
    if len(table.rows) > 12:
        return f"<details>\n<summary>{table.title}</summary>\n\n{text}\n\n</details>"
    return f"**{table.title}**\n\n{text}"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def basis(about: dict) -> str:
    """Under what a section was measured, in a line."""
    if "carried" in about:
        return f"Carried over: {about['carried']}."
    threads = f"{about['threads']} thread{'' if about['threads'] == 1 else 's'}"
    commit = f" at {about['commit']}" if about["commit"] else ""
    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
    return f"Measured on {about['date']}{commit}: {about['device']}, {threads}; {versions}."


if __name__ == "__main__":
    write()
