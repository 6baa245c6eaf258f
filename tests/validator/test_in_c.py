"""``plugin/validator``, in C: it passes on this library and its engine, and names what is wrong with broken ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from lgs import _ffi

from .faults import LIBRARIES, OLDER_TABLE


@pytest.fixture
def validate(validator, manifest, libtorch, tmp_path, monkeypatch):
    """Validates a library, with the loader left alone; gives its process and what it wrote as JSON."""
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)

    def call(library, *options: str, fault: str = "", torch: bool = True, before: tuple[str, ...] = ()):
        environment = {**os.environ, "LGS_FAULT": fault, "LGS_TRUE_LIBRARY": str(_ffi.library().file)}
        environment["LGS_TRUE_MANIFEST"] = str(manifest)
        found = tmp_path / "found.json"
        command = [*before, validator, *options, "--json", found, "--scratch", tmp_path, library, manifest]
        command += [libtorch] if torch else []
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=600)
        return done, json.loads(found.read_text()) if found.exists() else None

    return call


def names(found: dict, passed: bool) -> set[str]:
    return {check["name"] for check in found["checks"] if check["passed"] is passed}


def test_this_library_and_its_engine_pass(validate):
    done, found = validate(_ffi.library().file)
    assert done.returncode == 0 and found["passed"], done.stdout + done.stderr
    assert len(found["checks"]) > 30 and sum(check["expectations"] for check in found["checks"]) > 20_000
    assert names(found, True) >= {found.in_c for found in LIBRARIES.values()}
    lines = re.findall(r"^ok    ([\w.]+) +\d+$", done.stdout, re.MULTILINE)
    assert lines == [check["name"] for check in found["checks"]]


def test_without_torch_under_valgrind(validate):
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("to look for leaks and stray reads, install valgrind (Debian: apt install valgrind)")
    leaks = ("--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite")
    before = (valgrind, *leaks, "--error-exitcode=99", "-q")
    done, found = validate(_ffi.library().file, torch=False, before=before)
    assert done.returncode == 0 and found["passed"], done.stdout + done.stderr
    assert len(found["checks"]) > 10 and not done.stderr


def test_a_library_that_only_passes_everything_on_passes(validate, broken):
    done, _ = validate(broken)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("fault", [*LIBRARIES, OLDER_TABLE])
def test_a_broken_library_is_found_out(validate, broken, fault):
    check = "library.table" if fault == OLDER_TABLE else LIBRARIES[fault].in_c
    done, found = validate(
        broken, "--only", check, "--timeout", "20" if fault == "hangs_on_empty" else "60", fault=fault
    )
    assert done.returncode == 1 and not found["passed"]
    assert check in names(found, False), done.stdout
    assert f"FAIL  {check} " in done.stdout
    assert fault == "hangs_on_empty" or "hung" not in done.stdout  # a slow machine is no broken library


@pytest.mark.parametrize(("fault", "end"), [("crashes_on_null_error", "crashed"), ("hangs_on_empty", "hung")])
def test_what_crashes_and_what_hangs_is_named_and_the_rest_is_checked(validate, broken, fault, end):
    done, found = validate(broken, "--only", "num", "--timeout", "10", fault=fault)
    [failed] = [check for check in found["checks"] if not check["passed"]]
    assert failed["name"] == "numbers.refused" and end in failed["detail"] and done.returncode == 1
    if end == "crashed":
        done, found = validate(broken, fault=fault)
        assert done.returncode == 1 and len(found["checks"]) > 30 and names(found, False) == {"numbers.refused"}


def test_what_it_is_called_with(validator, tmp_path, manifest):
    def run(*arguments):
        return subprocess.run([validator, *map(str, arguments)], capture_output=True, text=True)

    for arguments in ([], ["--nonesuch", "1", "a", "b"], ["a"], ["a", "b", "c", "d"], ["--timeout", "0", "a", "b"]):
        done = run(*arguments)
        assert done.returncode == 2 and done.stderr.startswith("usage: "), done
    missing = tmp_path / "missing.so"
    done = run(missing, manifest)
    assert done.returncode == 2 and str(missing) in done.stderr
    # A name that no check has is no success.
    assert run("--only", "nonesuch", _ffi.library().file, manifest).returncode == 1
