"""The table of the README of the whole: the node's defaults beside the best that one could pick instead.

It is printed from the entry ``equal`` of the results, between two marker lines.
"""

from __future__ import annotations

from . import results
from .report import equal
from .report.metrics import mean_and_error

README = results.FOLDER.parents[1] / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def filled(text: str, found: results.Results) -> str:
    """The README with its table printed anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}"


def table(found: results.Results) -> str:
    """Markdown: in each cell LGS, then the best of the others; bold is the least, and what is level with it."""
    numbers = found["report"]["equal"]
    known = {cell: equal.compared(numbers, cell) for cell in equal.cells(numbers)}
    head = ["distance: LGS, best of the others", *(f"{budget} evaluations" for budget in equal.BUDGETS)]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " --- |" * len(equal.BUDGETS)]
    for bed, measure in dict.fromkeys((cell.bed, cell.measure) for cell in known):
        cells = (equal.Cell(bed, measure, budget) for budget in equal.BUDGETS)
        told = [_told(known[cell]) if cell in known else "" for cell in cells]
        lines.append("| " + " | ".join((equal.title(numbers, bed, measure), *told)) + " |")
    return "\n".join(lines)


def _told(one: equal.Compared) -> str:
    means = (_short(mean_and_error(groups)[0]) for groups in (one.ours, one.theirs))
    return ", ".join(
        f"**{mean}**" if one.sign in (0, nearer) else mean for mean, nearer in zip(means, (1, -1), strict=True)
    )


def _short(mean: float) -> str:
    """Two digits; none of what is far below chance."""
    return f"{mean:.2g}" if abs(mean) >= 1e-4 else "0"
