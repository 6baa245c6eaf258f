"""``make report QUICK=1`` as a user runs it, broken off once. Two minutes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import interruptible
import pytest

import lgs
from evidence.report.command import MODULES

TESTS = Path(__file__).parents[2]


def started(out):
    folders = os.pathsep.join(map(str, (TESTS, Path(lgs.__file__).parent.parent)))
    return interruptible.start(
        [sys.executable, "-m", "evidence.report", "--quick", "--out", str(out)],
        env=os.environ | {"PYTHONPATH": folders},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(900)
def test_a_quick_report_that_is_interrupted_goes_on_to_its_end(tmp_path):
    file = tmp_path / "report.json"
    first = started(tmp_path)
    while first.poll() is None and not file.exists():
        time.sleep(0.2)  # until the first section stands
    time.sleep(2)  # and the next one is at work
    first.send_signal(signal.SIGINT)
    shown, _ = first.communicate()
    assert first.returncode != 0 and "goes on from there" in shown
    kept = json.loads(file.read_text())

    second = started(tmp_path)
    shown, _ = second.communicate()
    assert second.returncode == 0, shown
    report = json.loads(file.read_text())
    assert list(report) == list(MODULES)
    for id, section in kept.items():
        assert report[id] == section, f"{id}: other numbers than before"
    for covariance in ("isotropic", "diagonal", "full"):
        assert report["path_kl"]["slopes"][covariance].keys() >= {"value", "stderr"}

    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= len(report)
    assert "This is a quick run" in page
