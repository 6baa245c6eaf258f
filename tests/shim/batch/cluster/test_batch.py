"""`batch --ray` on a cluster of two nodes: what fails is named, what runs is adopted, wrong orders are refused."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import interruptible
import psutil
import pytest

from lgs.batch.server import Server

from .faults import ENVIRONMENT, SECONDS, Cluster, hosts
from .test_faults import FAKE, pictures

pytest.importorskip("ray", reason="to run these, install Ray: pip install ray==2.60.0")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(2)
    try:
        cluster.wait()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def batch(cluster: Cluster, tmp_path: Path):
    return runner(cluster, tmp_path)


def runner(cluster: Cluster, tmp_path: Path):
    """Runs the command on a cluster; gives its exit status and its output."""
    (tmp_path / "workflow.json").write_text(json.dumps({"1": {"class_type": "Noise", "inputs": {"seed": 1}}}))

    def run(*arguments: str, ray: str = cluster.address) -> tuple[int, str]:
        command = [sys.executable, "-m", "lgs", "batch", "workflow.json", "--out", "out", "--ray", ray, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


COMFYUI = ("--comfyui", str(FAKE), "--workers", "2")
QUICK = ("--", "--seconds=0.05")


def test_jobs_that_fail_are_set_aside_and_named(batch, tmp_path: Path):
    status, output = batch("--set", "seed=1..6", "--set", "error=false,true", *COMFYUI, *QUICK)
    assert status == 1
    assert "6 pictures of 6 of 12 jobs" in output and "expected all jobs to be run, and 6 failed every time" in output
    for seed in range(1, 7):
        assert f"(seed = {seed}, error = True): expected ComfyUI to run it, got an error. Noise (node 1): " in output
    assert len(pictures(tmp_path / "out")) == 6


def test_a_job_that_kills_its_comfyui_is_set_aside_and_the_others_go_on(batch, tmp_path: Path):
    status, output = batch("--set", "seed=1..2", "--set", "kill=false,true", *COMFYUI, *QUICK)
    assert status == 1
    assert "2 pictures of 2 of 4 jobs" in output
    for seed in (1, 2):
        assert f"(seed = {seed}, kill = True): the worker was lost while it ran: 127.0.0.1:" in output, output
    assert "The end of its log" in output
    assert len(pictures(tmp_path / "out")) == 2


def test_comfyuis_that_run_are_adopted_and_left_running(batch, tmp_path: Path):
    servers = []

    def made() -> list[int]:
        return [len((tmp_path / f"server-{number}" / "made").read_text().splitlines()) for number in range(2)]

    for number in range(2):
        folder = tmp_path / f"server-{number}"
        folder.mkdir()
        arguments = [f"--output-directory={folder}", "--seconds=0.05", f"--made={folder / 'made'}"]
        servers.append(Server(FAKE, sys.executable, arguments, folder / "log"))
    try:
        for server in servers:
            server.start()
        addresses = [word for server in servers for word in ("--server", server.address)]
        status, output = batch("--set", "seed=1..30", *addresses)
        assert status == 0 and "30 pictures of 30 jobs" in output, output
        assert sum(made()) == 30 and min(made()) > 5
        assert all(server.process.poll() is None for server in servers)
        status, output = batch("--set", "seed=1..30", *addresses)
        assert status == 0 and "30 pictures of 30 jobs" in output, output
        assert sum(made()) == 30
    finally:
        for server in servers:
            server.stop()


def test_each_worker_has_a_gpu_of_its_own(tmp_path: Path):
    """Ray takes the GPUs that it is told of; which one it gives is in the environment of the ComfyUI."""
    cluster = Cluster(1, "--num-cpus=1", "--num-gpus=2")
    try:
        cluster.wait()
        made = tmp_path / "made"
        status, output = runner(cluster, tmp_path)(
            "--set", "seed=1..20", "--comfyui", str(FAKE), *QUICK, f"--made={made}"
        )
        assert status == 0 and "20 pictures of 20 jobs" in output, output
        assert {line.split()[1] for line in made.read_text().splitlines()} == {"0", "1"}
    finally:
        cluster.stop()


def test_stopped_by_hand_it_leaves_nothing(batch, cluster: Cluster, tmp_path: Path):
    made = tmp_path / "made"
    command = [sys.executable, "-m", "lgs", "batch", "workflow.json", "--out", "out", "--ray", cluster.address]
    process = interruptible.start(
        [*command, "--set", "seed=1..500", *COMFYUI, *QUICK, f"--made={made}"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while len(pictures(tmp_path / "out")) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        [first, *_] = hosts(str(made))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 130 and "run the same command again" in said and "Traceback" not in said, said
    first.wait(60)
    assert psutil.wait_procs(hosts(str(made)), timeout=60)[1] == []


def test_the_node_is_named_that_has_no_comfyui(batch, tmp_path: Path):
    status, output = batch("--comfyui", str(tmp_path))
    assert status == 1
    assert "error: on node " in output and f"{tmp_path}: expected the folder of ComfyUI" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "sed=1", *COMFYUI), "Did you mean seed"),
        (("--comfyui", str(FAKE), "--", "--output-directory=x"), "got --output-directory=x: each has its own"),
        (("--server", "127.0.0.1:9"), "on node .*expected a running ComfyUI"),
    ],
)
def test_wrong_orders(batch, arguments: tuple[str, ...], words: str):
    status, output = batch(*arguments)
    assert status == 1
    assert re.search(words, output), output


@pytest.mark.parametrize(
    ("address", "words"),
    [("ray://127.0.0.1:1", "Run the command on a node of the cluster"), ("127.0.0.1:1", "expected a Ray cluster")],
)
def test_addresses_that_are_no_cluster(batch, address: str, words: str):
    status, output = batch(*COMFYUI, ray=address)
    assert status == 1 and words in output
