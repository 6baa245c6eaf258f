"""The libraries for Windows, under Wine on Linux."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from windows.torches import RELEASES, fetch

from evidence.report.run import Findings, Numbers, Run, Section, Table

from .suite import ROOT, counted


def measure(run: Run) -> Numbers:
    """tests/windows, with the DLLs of each release; what goes with none in particular is counted with the last."""
    for release in RELEASES:
        fetch(release)
    report = (run.out / "windows.xml").resolve()
    command = [sys.executable, "-m", "pytest", "tests/windows", f"--junit-xml={report}"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return {"torches": [{"release": release} | counted(report, _goes_with(release)) for release in RELEASES]}


def _goes_with(release: str):
    others = [other for other in RELEASES if other != release]

    def goes(name: str) -> bool:
        return f"[{release}" in name or (release == RELEASES[-1] and not any(f"[{other}" in name for other in others))

    return goes


def describe(numbers: Numbers) -> str:
    return "\n".join("  ".join(row) for row in _rows(numbers))


def _rows(numbers: Numbers) -> list[tuple[str, ...]]:
    return [
        (torch["release"], str(torch["passed"]), str(torch["skipped"]), ", ".join(torch["failed"]) or "none")
        for torch in numbers["torches"]
    ]


def show(numbers: Numbers, folder: Path) -> Findings:
    title = "liblgs and the stable engine as DLLs, with PyTorch's own, in Wine"
    return Findings([], [], [Table(title, ("torch", "passed", "skipped", "failed"), _rows(numbers))])


SECTION = Section(
    "windows",
    "Windows",
    "Do the libraries for Windows keep the contract, and give the numbers that they give on Linux?",
    measure,
    show,
    remarks=(
        "The validator in C takes them through the contract, in folders with any name, and finds out each library that "
        "is broken on purpose; a host in C has the trajectories of Linux to rounding. Python and ComfyUI have not run "
        "on Windows.",
    ),
)
