"""The shim's tests, by an interpreter of their own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from evidence.report.run import Numbers

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "dist" / "comfyui-lgs"
SUITE = ("tests/shim", "tests/attacks", "tests/validator", "tests/manifests", "tests/abi")
"""All that goes by torch. The engine's own tests are in Rust, and the evidence is measured on one torch."""


def run(python: Path, out: Path, *more: str) -> Numbers:
    """What came of it: the engine, tests that passed, failed and were skipped, and the names of those that failed."""
    environment = {**os.environ, "PYTHONPATH": str(FOLDER), "OMP_NUM_THREADS": "1"}
    info = _info(python, environment)
    if info["problem"]:
        return {"torch": info["torch"], "problem": info["problem"]}
    report = out / f"{info['torch']}.xml"
    command = [python, "-m", "pytest", *SUITE, "-n", "2", "--dist", "loadfile", "-q", f"--junit-xml={report}", *more]
    with (out / f"{info['torch']}.log").open("w") as log:
        subprocess.run([*map(str, command)], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    numbers = {"torch": info["torch"], "engine": info["engine"], "interface": info["interface"]}
    return numbers | counted(report)


def counted(report: Path) -> Numbers:
    """The counts of a report of pytest's in JUnit's form."""
    cases = list(ElementTree.parse(report).iter("testcase"))
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
