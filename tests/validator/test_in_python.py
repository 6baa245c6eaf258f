"""``python -m lgs validate``: it passes on what is installed here, and names what is wrong with what is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch

from lgs import _ffi
from lgs._ffi import callbacks, calls
from lgs._ffi.engine import Engine
from lgs._ffi.liblgs import Library
from lgs._torch.forward_ad import ForwardLevel
from lgs.validator import host
from lgs.validator.check import Check, Checks, Violation, expect, make
from lgs.validator.command import OF_A_LIBRARY
from lgs.validator.shim import checks as of_the_shim
from lgs.validator.subject import Installation

from . import models
from .faults import LIBRARIES, OLDER_TABLE

CHECKS = {check.name: check for group in OF_A_LIBRARY for check in group.checks}
SHIM = {check.name: check for check in of_the_shim}
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="without fork no check has a process of its own")


def run(*arguments: object, at: Path, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lgs", "validate", *map(str, arguments)]
    return subprocess.run(command, cwd=at, env={**os.environ, **variables}, capture_output=True, text=True, timeout=600)


def test_what_is_installed_here_passes(tmp_path):
    done = run("--json", tmp_path / "found.json", at=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    names = [check["name"] for check in found["checks"]]
    assert found["passed"] and names == [*CHECKS, *SHIM] and len(names) > 50
    skipped = [check["name"] for check in found["checks"] if check["detail"]]
    assert not skipped or not sys.platform.startswith("linux"), skipped
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ok  ")] == names


@dataclass
class Broken:
    """A library with a fault, which is loaded where it is used first: in the process of a check."""

    file: Path
    manifest: Path
    fault: str

    @cached_property
    def library(self) -> Library:
        os.environ |= {"LGS_FAULT": self.fault, "LGS_TRUE_LIBRARY": str(_ffi.library().file)}
        os.environ["LGS_TRUE_MANIFEST"] = str(self.manifest)
        return Library(self.file)

    @cached_property
    def engine(self) -> Engine:
        return Engine(self.library, self.manifest, torch.__version__)


@forks
@pytest.mark.parametrize("fault", LIBRARIES)
def test_a_broken_library_is_found_out(broken, manifest, fault):
    check = CHECKS[LIBRARIES[fault].in_python]
    # These two hang; a check takes about a second.
    longest = 10 if fault in ("hangs_on_empty", "hosts_meet") else 60
    found = make(check, Broken(broken, manifest, fault), longest)
    assert not found.passed and found.detail and found.rule == check.rule
    ends = {
        "hangs_on_empty": "hung",
        "hosts_meet": "",
        "crashes_on_null_error": "crashed",
        "progress_is_required": "crashed",
    }
    # A slow machine is no broken library.
    assert found.detail.startswith(ends.get(fault, "")) and (fault in ends or "hung" not in found.detail), found.detail


@forks
@pytest.mark.parametrize("check", sorted({found.in_python for found in LIBRARIES.values()}))
def test_the_library_behind_it_passes(broken, manifest, check):
    found = make(CHECKS[check], Broken(broken, manifest, ""), longest=120)
    assert found.passed, found.detail


def test_by_the_command(broken, manifest, tmp_path):
    true = {"LGS_TRUE_LIBRARY": str(_ffi.library().file), "LGS_TRUE_MANIFEST": str(manifest)}
    of = ("--library", broken, "--engines", manifest)
    done = run(
        *of, "--only", "callbacks.stop", "--json", "found.json", at=tmp_path, LGS_FAULT="stop_is_ignored", **true
    )
    assert done.returncode == 1 and "FAIL  callbacks.stop" in done.stdout and "1 checks, 1 failed" in done.stdout
    [found] = json.loads((tmp_path / "found.json").read_text())["checks"]
    assert not found["passed"] and "expected status 7" in found["detail"]
    done = run(*of, at=tmp_path, LGS_FAULT=OLDER_TABLE, **true)
    assert done.returncode == 1 and "expected a library with a table of" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "models:whole"), "--host needs --shape and --sigma-max"),
        (("--engines", "engines.json"), "--engines can only be used with --library"),
        (
            ("--host", "a:b", "--shape", "1", "--sigma-max", "1", "--timeout", "9"),
            "--timeout cannot be used with --host",
        ),
        (("--nonesuch",), "unrecognized arguments"),
    ],
)
def test_arguments_that_do_not_fit(arguments, words, tmp_path):
    done = run(*arguments, at=tmp_path)
    assert done.returncode == 2 and words in done.stderr


def test_a_name_that_no_check_has_is_no_success(tmp_path):
    assert run("--only", "nonesuch", at=tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonesuch:denoise", "No module named 'nonesuch'"),
        ("models:nonesuch", "has no attribute 'nonesuch'"),
        ("models", "expected MODULE:NAME"),
        ("models:SHAPE", "expected a function denoise(x, sigma), got tuple"),
    ],
)
def test_a_host_that_is_none(name, words):
    done = run("--host", name, "--shape", "4,8,8", "--sigma-max", "14.6", at=Path(__file__).parent)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_a_model_by_the_command(tmp_path):
    settings = ("--shape", "4,8,8", "--sigma-max", models.SIGMA_MAX, "--json", tmp_path / "found.json")
    done = run("--host", "models:whole", *settings, at=Path(__file__).parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads((tmp_path / "found.json").read_text())["checks"]) == len(host.checks)
    done = run("--host", "models:the_noise", *settings, at=Path(__file__).parent)
    assert done.returncode == 1 and "does denoise return the noise or a velocity?" in done.stdout


@pytest.fixture
def torch_as_it_was():
    """A model that is broken may leave anything on."""
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("model", models.BROKEN, ids=lambda model: model.__name__)
def test_a_broken_model_is_found_out(model, torch_as_it_was):
    subject = host.Model(model, models.SHAPE, models.SIGMA_MAX)
    findings = [make(check, subject, 60, isolated=False) for check in host.checks]
    failed = [finding.name for finding in findings if not finding.passed]
    assert models.BROKEN[model] in failed, findings


@pytest.mark.parametrize("process", ["ve", "flow"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_model_that_is_as_it_should_be(process, dtype):
    def flow(x, sigma):
        s = models.level(sigma)
        return (1 - s) * x / ((1 - s) ** 2 + s**2)

    denoise, sigma_max = (flow, 1.0) if process == "flow" else (models.whole, models.SIGMA_MAX)
    subject = host.Model(denoise, models.SHAPE, sigma_max, process=process, dtype=dtype)
    findings = [make(check, subject, 60, isolated=False) for check in host.checks]
    assert [finding for finding in findings if not finding.passed] == []


def test_a_model_that_refuses_what_it_may():
    def denoise(x, sigma):
        if len(x) > 3:
            raise RuntimeError("a batch of three at the most")
        return models.whole(x, sigma)

    subject = host.Model(denoise, models.SHAPE, models.SIGMA_MAX)
    findings = {check.name: make(check, subject, 60, isolated=False) for check in host.checks}
    assert all(finding.passed for finding in findings.values())
    assert "not checked: it is refused" in findings["host.larger_batch"].detail


def always_fails(self, exception):
    """An interrupt is taken for a model that cannot do something."""
    self.exception = exception
    return _ffi.FAIL


def wraps(self, status):
    """What was raised comes out as something else."""
    if self.exception is not None and status:
        raise RuntimeError("something went wrong") from self.exception


SHIMS = {
    "an interrupt is a refusal": ("shim.answers", calls.Call, "failed", always_fails),
    "exceptions are wrapped": ("shim.exceptions", calls.Call, "raise_again", wraps),
    "any tensor is taken": ("shim.odd_tensors", callbacks, "oddity", lambda tensor: ""),
    "forward mode stays open": ("shim.exceptions", ForwardLevel, "_leave_level", lambda self: None),
    "signals are lost": ("shim.interrupts", calls._UnraisableHook, "__call__", lambda self, unraisable: None),
    "models are kept": ("shim.nothing_kept", callbacks.HostCall, "has_another_way", lambda self, e: KEPT.append(self)),
    "reports are read beyond their size": (
        "shim.older_library",
        _ffi.Progress,
        "known",
        classmethod(lambda cls, pointer: pointer.contents),
    ),
}
KEPT: list = []


@forks
@pytest.mark.parametrize("fault", SHIMS)
def test_a_broken_shim_is_found_out(fault, manifest):
    name, owner, attribute, broken = SHIMS[fault]

    def run_broken(subject):
        setattr(owner, attribute, broken)
        SHIM[name].run(subject)

    found = make(Check(name, "", run_broken), Installation(_ffi.library(), manifest), longest=15)
    assert not found.passed and found.detail, found


@forks
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (lambda _: os.abort(), "crashed: Aborted"),
        (lambda _: os._exit(5), "ended the process, with status 5"),
        (lambda _: __import__("time").sleep(60), "hung: no end in 1 seconds"),
        (lambda _: sys.exit(3), "raised SystemExit"),
        (lambda _: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda _: expect(False, lambda: "expected 1, got 2"), "expected 1, got 2"),
    ],
)
def test_whatever_a_check_does_is_named(body, detail):
    found = make(Check("name", "rule", body), None, longest=1)
    assert not found.passed and found.detail.startswith(detail), found


def test_checks_are_named_once():
    names = [check.name for group in (*OF_A_LIBRARY, host) for check in group.checks] + list(SHIM)
    assert len(names) == len(set(names))
    group = Checks()

    @group("a.name", "A rule.")
    def body(_):
        raise Violation("no")

    assert group == [Check("a.name", "A rule.", body)]
