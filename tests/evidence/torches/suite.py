"""The shim's tests, by an interpreter of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from evidence.report.run import Numbers

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "dist" / "comfyui-lgs"
SUITE = ("tests/shim", "tests/attacks", "tests/validator", "tests/manifests", "tests/abi")
"""All that goes by torch. The engine's own tests are in Rust, and the evidence is measured on one torch."""


def run(python: Path, out: Path, *more: str, tests: tuple[str, ...] = SUITE) -> Numbers:
    """What came of it: the engine, tests that passed, failed and were skipped, and the names of those that failed."""
    # A copy: the folder may be assembled anew meanwhile.
    folder = (out / FOLDER.name).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FOLDER, folder)
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    info = _info(python, environment)
    if info["problem"]:
        # Where the folder lies is of no interest to whoever reads the table.
        return {"torch": info["torch"], "problem": info["problem"].replace(str(folder), folder.name)}
    report = out / f"{info['torch']}.xml"
    command = [python, "-m", "pytest", *tests, "-n", "2", "--dist", "loadfile", "-q", f"--junit-xml={report}", *more]
    with (out / f"{info['torch']}.log").open("w") as log:
        subprocess.run([*map(str, command)], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    numbers = {"torch": info["torch"], "engine": info["engine"], "interface": info["interface"]}
    return numbers | counted(report)


def run_failed(python: Path, out: Path, before: Numbers) -> Numbers:
    """Once more those that failed ``before``: what came of both, with the names of those that pass now."""
    now = run(python, out, tests=tuple(map(_node, before["failed"])))
    if "problem" in now:
        return now
    mended = [name for name in before["failed"] if name not in now["failed"]]
    return before | {
        "passed": before["passed"] + len(mended),
        "failed": now["failed"],
        "mended": [*before.get("mended", ()), *mended],
    }


def _node(name: str) -> str:
    """What pytest calls a test of a report in JUnit's form."""
    module, _, test = name.partition("::")
    return f"{module.replace('.', '/')}.py::{test}"


def counted(report: Path, of: Callable[[str], bool] = lambda name: True) -> Numbers:
    """The counts of a report of pytest's in JUnit's form, of the tests with such names."""
    cases = [case for case in ElementTree.parse(report).iter("testcase") if of(case.get("name", ""))]
    failed = [f"{case.get('classname')}::{case.get('name')}" for case in cases if _has(case, "failure", "error")]
    skipped = sum(_has(case, "skipped") for case in cases)
    return {"passed": len(cases) - len(failed) - skipped, "failed": failed, "skipped": skipped}


def _has(case: ElementTree.Element, *names: str) -> bool:
    return any(case.find(name) is not None for name in names)


def _info(python: Path, environment: dict[str, str]) -> dict[str, Any]:
    command = [str(python), "-m", "lgs", "info"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if not done.stdout.strip():
        raise RuntimeError(f"lgs info: {done.stderr.strip()}")
    return json.loads(done.stdout)
