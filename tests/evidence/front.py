"""The table of the README of the whole: at equal model evaluations, where LGS wins and where it loses.

It is printed from the entry ``defaults`` of the results, between two marker lines.
"""

from __future__ import annotations

from . import results
from .report.compared import verdict, with_error
from .report.metrics import mean_and_error
from .report.samplers import SHIPPED

README = results.FOLDER.parents[1] / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

COLUMNS = {
    ("cifar", 10): "photographs, 10 evaluations",
    ("cifar", 20): "20",
    ("digits", 10): "digits, 10",
    ("digits", 20): "20",
}

HEADS = {
    "CIFAR-10, 10 evaluations": ("cifar", 10),
    "CIFAR-10, 20 evaluations": ("cifar", 20),
    "digits, 10 evaluations": ("digits", 10),
    "digits, 20 evaluations": ("digits", 20),
}
"""The same in the carried table."""

NODE, TUNED = "LGS, Lanczos in part", "LGS, the best setting for each"
RIVALS = {
    "dpmpp-2m": "DPM-Solver++(2M)",
    "dpmpp-2m-sde": "DPM-Solver++(2M) SDE",
    "euler-ancestral": "Euler ancestral",
    "ddim": "DDIM",
    "heun": "Heun",
}
Cells = dict[tuple[str, int], str]


def filled(text: str, found: results.Results) -> str:
    """The README with its table printed anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}"


def table(found: results.Results) -> str:
    """Markdown."""
    entry = found["report"]["defaults"]
    rows = carried(entry["carried"]["tables"][0]) if "carried" in entry else measured(entry)
    lines = ["| Fréchet distance | " + " | ".join(COLUMNS.values()) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for name in (NODE, TUNED, *RIVALS.values()):
        lines.append(f"| {name} | " + " | ".join(rows[name].get(column, "") for column in COLUMNS) + " |")
    return "\n".join(lines)


def carried(of: dict) -> dict[str, Cells]:
    """The cells of a table that was published before; bold is the least and what is level with it."""
    columns = [HEADS.get(head) for head in of["head"][1:]]
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in of["rows"]}


def measured(entry: dict) -> dict[str, Cells]:
    """The same of an entry that was measured; level is what `compared.verdict` cannot tell from the least."""
    found: dict[str, Cells] = {name: {} for name in (NODE, TUNED, *RIVALS.values())}
    for case in entry["chosen"]:
        column = case["data"], case["budget"]
        rows = {row["id"]: row for row in entry["rows"] if (row["data"], row["budget"]) == column}
        shown = {NODE: SHIPPED.id, TUNED: case["id"]} | {name: id for id, name in RIVALS.items()}
        rows = {name: rows[id] for name, id in shown.items() if id in rows}
        least = min(rows.values(), key=lambda row: mean_and_error(row["groups"]["frechet"])[0])
        for name, row in rows.items():
            mean, error = mean_and_error(row["groups"]["frechet"])
            text = with_error(mean, error or 0.0)
            found[name][column] = f"**{text}**" if row is least or verdict(least, row, "frechet") == 0 else text
    return found
