"""The tables of the README of the whole: the node's defaults beside the best that one could pick instead, and on which
systems it has run.

They are printed from the entries ``equal``, ``torches`` and ``windows`` of the results, between marker lines.
"""

from __future__ import annotations

from . import results
from .report import equal
from .report.metrics import mean_and_error

README = results.FOLDER.parents[1] / "README.md"
STABLE = (2, 10)
"""The first release that the stable engine serves, which is built for every system."""


def filled(text: str, found: results.Results) -> str:
    """The README with its tables printed anew."""
    for name, printed in {"results": table(found), "systems": systems(found)}.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n\n{printed}\n\n{end}{after}"
    return text


def systems(found: results.Results) -> str:
    """Markdown: releases of torch, those that are alike in one row, and what was done with them on each system."""
    measured = found.get("torches", {})
    under_wine = measured.get("windows", {}).get("torches", ())
    in_c = {torch["release"] for torch in under_wine if torch["passed"] and not torch["failed"]}
    alike: dict[tuple[str, str, str], list[str]] = {}
    for torch in measured.get("torches", {}).get("torches", ()):
        release = torch["release"].rpartition(".")[0]
        built = tuple(map(int, release.split("."))) >= STABLE
        linux = "neither" if "problem" in torch else f"{len(torch['failed'])} failed" if torch["failed"] else "tested"
        on_windows = "tested in C" if torch["release"] in in_c else "built" if built else "neither"
        alike.setdefault((linux, on_windows, "built" if built else "neither"), []).append(release)
    lines = ["| PyTorch | Linux x86-64 | Windows x86-64 | macOS, Apple silicon |", "| --- | --- | --- | --- |"]
    lines += [f"| {', '.join(releases)} | {' | '.join(cells)} |" for cells, releases in alike.items()]
    return "\n".join(lines)


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
