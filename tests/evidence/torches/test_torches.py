"""The table of every torch: what is counted, and what is asked of pip. That it runs is shown by running it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evidence.torches import environments, section, suite

PASSES = "def test_one(): pass\n"
OTHERS = """
import pytest

def test_two(): assert False

@pytest.fixture
def broken(): raise ValueError

def test_three(broken): pass

def test_four(): pytest.skip("not here")
"""


def test_a_report_is_counted(tmp_path: Path):
    (tmp_path / "test_suite.py").write_text(PASSES + OTHERS)
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", tmp_path, f"--junit-xml={report}", "-q", "-p", "no:cacheprovider"]
    subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True)
    found = suite.counted(report)
    assert (found["passed"], found["skipped"]) == (1, 1)
    assert [name.rpartition("::")[2] for name in found["failed"]] == ["test_two", "test_three"]


def test_nothing_that_goes_with_one_torch_is_asked_for_beside_another():
    names = [requirement.partition("==")[0] for requirement in environments._others()]
    assert {"pytest", "pytest-xdist", "zuko"} <= set(names) and not {"torch", "torchvision"} & set(names)


def test_a_release_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(python, *what):
        raise environments.CannotInstall(f"no matching distribution for {what[0]}")

    monkeypatch.setattr(environments, "_install", refuse)
    found = section.measure(section.Run(tmp_path), ("2.7.1",))
    assert found == {"torches": [{"release": "2.7.1", "problem": "no matching distribution for torch==2.7.1"}]}
    assert not (tmp_path / "torch-2.7.1").exists()
    assert section.describe(found).startswith("2.7.1  none")


def test_the_table():
    numbers = {
        "torches": [
            {"release": "2.8.0", "torch": "2.8.0", "problem": "no engine for torch 2.8"},
            {
                "release": "2.15.0",
                "torch": "2.15.0",
                "engine": "e",
                "interface": "i",
                "passed": 3,
                "failed": ["a::b"],
                "skipped": 2,
            },
        ]
    }
    [table] = section.show(numbers, Path()).tables
    assert table.rows == [
        ("2.8.0", "none", "", "", "", "no engine for torch 2.8"),
        ("2.15.0", "i", "3", "1", "2", "a::b"),
    ]
