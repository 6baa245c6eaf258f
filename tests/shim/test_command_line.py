"""``python -m lgs`` and ``python path/to/lgs``: the same commands, from anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import assembled

WAYS = {"module": ["-m", "lgs"], "folder": [str(assembled.FOLDER / "lgs")]}
"""How it can be called."""


@pytest.fixture(params=WAYS)
def run(request: pytest.FixtureRequest, tmp_path: Path):
    """Runs it with arguments, somewhere else, as a process of its own; as a folder it needs no path to be set."""

    def call(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, *WAYS[request.param], *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if request.param == "module":
            environment["PYTHONPATH"] = str(assembled.FOLDER)
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return call


def test_info(run):
    done = run("info")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["problem"] is None and answer["lgs"] and answer["engine"] and "cpu" in answer["devices"]


def test_a_batch(run, tmp_path: Path):
    (tmp_path / "workflow.json").write_text("{}")
    done = run("batch", "workflow.json", "--out", "out")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: workflow.json: expected a workflow in API format"), done.stderr


def test_arguments_for_the_server_without_one_are_refused(run):
    done = run("batch", "workflow.json", "--out", "out", "--", "--cpu")
    assert done.returncode == 2 and "arguments after -- are for the ComfyUI that --comfyui starts" in done.stderr


def test_the_help_says_how_it_was_called(run, request: pytest.FixtureRequest):
    called = "python -m lgs" if request.node.callspec.params["run"] == "module" else f"python {WAYS['folder'][0]}"
    assert f"{called} batch workflow.json --out out/seeds --set noise_seed=1..60" in run("batch", "--help").stdout
    assert f"usage: {called} [-h] {{info,batch,validate,fit}}" in " ".join(run("--help").stdout.split())


@pytest.mark.parametrize("arguments", [(), ("nonesuch",)])
def test_what_is_no_command_is_refused(run, arguments):
    done = run(*arguments)
    assert done.returncode == 2 and "usage:" in done.stderr


def test_a_batch_loads_neither_torch_nor_the_library():
    """It may run where there is only a network connection to a ComfyUI."""
    code = "import sys, lgs.batch.command; assert not {'torch', 'lgs._ffi'} & set(sys.modules), 'loaded'"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(assembled.FOLDER)}, capture_output=True)
    assert done.returncode == 0, done.stderr
