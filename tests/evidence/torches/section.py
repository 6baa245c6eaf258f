"""Which torch the drop-in folder works with."""

from __future__ import annotations

from pathlib import Path

from evidence.report.run import Findings, Numbers, Run, Section, Table

from .environments import CannotInstall, environment
from .suite import run as run_suite
from .suite import run_failed

RELEASES = ("2.7.1", "2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0", "2.14.1", "2.15.0")
"""Of PyPI, a minor release each."""
WITHOUT_ENGINE = ("2.8.0",)
"""There is neither a tch for it nor all of the stable interface: whoever has it is told what to do."""


def measure(
    run: Run, releases: tuple[str, ...] = RELEASES, keep: bool = False, before: dict[str, Numbers] | None = None
) -> Numbers:
    """One after the other: each environment takes about 5 GB. ``quick``: the validator's tests alone. With what came of
    them ``before`` those tests alone that failed."""
    found = []
    for release in releases:
        print(f"torch {release}", flush=True)
        try:
            with environment(release, run.out, keep) as python:
                if before is None:
                    came = run_suite(python, run.out, *(["-k", "validator"] if run.quick else []))
                else:
                    came = run_failed(python, run.out, before[release])
                found.append({"release": release} | came)
        except CannotInstall as problem:
            found.append({"release": release, "problem": str(problem)})
        run.so_far({"torches": found})
    return {"torches": found}


def describe(numbers: Numbers) -> str:
    return "\n".join("  ".join(row) for row in _rows(numbers))


def _rows(numbers: Numbers) -> list[tuple[str, ...]]:
    rows = []
    for torch in numbers["torches"]:
        if "problem" in torch:
            rows.append((torch["release"], "none", "", "", "", torch["problem"], ""))
            continue
        failed = ", ".join(torch["failed"]) or "none"
        counts = str(torch["passed"]), str(len(torch["failed"])), str(torch["skipped"])
        mended = ", ".join(torch.get("mended", ())) or "none"
        rows.append((torch["torch"], torch["interface"], *counts, failed, mended))
    return rows


def show(numbers: Numbers, folder: Path) -> Findings:
    head = (
        "torch",
        "engine",
        "passed",
        "failed",
        "skipped",
        "which failed, or what a user is told",
        "which failed at first",
    )
    title = "The shim's tests, the validator among them, on one folder"
    return Findings([], [], [Table(title, head, _rows(numbers))])


SECTION = Section(
    "torches",
    "Every torch",
    "With which releases of torch does the drop-in folder work as it is?",
    measure,
    show,
    remarks=(
        "Where there is no engine for a release the error says what there is and what to do. What is skipped needs "
        "another system, or both kinds of engine, to compare them. What failed at first was run again once its cause "
        "was known and mended.",
    ),
)
