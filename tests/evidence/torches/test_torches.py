"""The table of every torch: what is counted, and what is asked of pip. That it runs is shown by running it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evidence import front
from evidence.torches import environments, section, suite, windows
from evidence.torches.__main__ import as_it_should_be

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


def test_windows_tests_are_counted_by_release(tmp_path: Path):
    older, newest = windows.RELEASES
    cases = [f"test_one[{older}]", f"test_one[{newest}]", "test_two[fault]", f"test_three[{newest}-a]"]
    report = tmp_path / "report.xml"
    report.write_text("<r>" + "".join(f'<testcase classname="c" name="{name}"/>' for name in cases) + "</r>")
    assert [suite.counted(report, windows._goes_with(release))["passed"] for release in (older, newest)] == [1, 3]


def test_the_front_page_s_table_of_systems():
    torches = [
        {"release": "2.7.1", "passed": 3, "failed": []},
        {"release": "2.8.0", "problem": "no engine"},
        {"release": "2.9.1", "passed": 3, "failed": ["one"]},
        {"release": "2.11.0", "passed": 3, "failed": []},
        {"release": "2.12.1", "passed": 3, "failed": []},
        {"release": "2.13.0", "passed": 3, "failed": []},
    ]
    in_wine = [{"release": "2.11.0", "passed": 3, "failed": []}, {"release": "2.13.0", "passed": 3, "failed": ["one"]}]
    table = front.systems({"torches": {"torches": {"torches": torches}, "windows": {"torches": in_wine}}})
    assert table.splitlines()[2:] == [
        "| 2.7 | tested | neither | neither |",
        "| 2.8 | neither | neither | neither |",
        "| 2.9 | 1 failed | neither | neither |",
        "| 2.11 | tested | tested in C | built |",
        "| 2.12, 2.13 | tested | built | built |",
    ]


@pytest.mark.parametrize(
    ("torch", "good"),
    [
        ({"release": "2.8.0", "problem": "no engine for torch 2.8"}, True),
        ({"release": "2.8.0", "problem": "no matching distribution"}, False),
        ({"release": "2.15.0", "problem": "no engine for torch 2.15"}, False),
        ({"release": "2.15.0", "passed": 3, "failed": []}, True),
        ({"release": "2.15.0", "passed": 3, "failed": ["one"]}, False),
        ({"release": "2.15.0", "passed": 0, "failed": []}, False),
    ],
)
def test_a_run_succeeds_where_all_is_as_it_should_be(torch, good):
    assert as_it_should_be(torch) is good


def test_what_failed_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def run(python, out, tests):
        asked.extend(tests)
        return {"torch": "2.15.0", "passed": 1, "failed": ["tests.shim.test_api::test_two[a-b]"], "skipped": 0}

    monkeypatch.setattr(suite, "run", run)
    failed = ["tests.shim.test_api::test_one", "tests.shim.test_api::test_two[a-b]"]
    before = {"release": "2.15.0", "passed": 5, "failed": failed, "skipped": 2}
    came = suite.run_failed(Path("python"), tmp_path, before)
    assert asked == ["tests/shim/test_api.py::test_one", "tests/shim/test_api.py::test_two[a-b]"]
    assert came == before | {"passed": 6, "failed": failed[1:], "mended": failed[:1]}


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
                "mended": ["c::d"],
                "skipped": 2,
            },
        ]
    }
    [table] = section.show(numbers, Path()).tables
    assert table.rows == [
        ("2.8.0", "none", "", "", "", "no engine for torch 2.8", ""),
        ("2.15.0", "i", "3", "1", "2", "a::b", "c::d"),
    ]
