"""Batches on the real host: killed at any moment and run again, they end with exactly the right pictures."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import interruptible
import psutil
import pytest
from PIL import Image

from .client import Client
from .conftest import Servers
from .graphs import shipped, with_inputs
from .server import ComfyServer

SECONDS = 300
"""More than any of these batches takes."""


class Batch:
    """One folder of pictures, and the command that fills it."""

    def __init__(self, folder: Path, graph: dict):
        self.workflow = folder / "workflow.json"
        self.workflow.write_text(json.dumps(graph))
        self.out = folder / "out"

    def start(self, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "lgs", "batch", str(self.workflow), "--out", str(self.out), *arguments]
        return interruptible.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit status and output."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=SECONDS)
        return process.returncode, output

    def kill_when(self, process: subprocess.Popen, finished: int) -> None:
        """Waits until so many jobs are finished, then ends the process as a crash would."""
        deadline = time.monotonic() + SECONDS
        while len(self.records()) < finished and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, f"it ended by itself: {process.communicate()[0]}"
        process.send_signal(signal.SIGKILL)
        process.wait()

    def records(self) -> set[str]:
        return {file.name for file in self.out.glob("jobs/*.json")}

    def pictures(self) -> dict[str, bytes]:
        return {f"pictures/{file.name}": file.read_bytes() for file in self.out.glob("pictures/*")}

    def table(self) -> list[dict]:
        with (self.out / "pictures.csv").open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, strict=True))

    def plan(self) -> dict:
        """What the contact sheet says that it shows."""
        with Image.open(self.out / "contact-sheet.png") as sheet:
            return json.loads(sheet.text["plan"])


@pytest.fixture
def batch(tmp_path: Path, example: dict) -> Batch:
    """One digit in five steps: a fraction of a second each."""
    return Batch(tmp_path, with_inputs(example, digits="7", steps=5))


def workflow_in(picture: bytes) -> dict:
    return json.loads(Image.open(io.BytesIO(picture)).text["prompt"])


def test_killed_twice_ends_with_exactly_the_right_pictures(batch: Batch, server: ComfyServer, comfy: Client):
    command = ("--server", server.address, "--set", "noise_seed=1..60")
    for finished in (15, 40):
        batch.kill_when(batch.start(*command), finished)
        assert finished <= len(batch.records()) < 60
    before = batch.pictures()
    status, output = batch.run(*command)
    assert status == 0, output
    assert "60 pictures of 60 jobs" in output

    pictures, rows = batch.pictures(), batch.table()
    assert len(pictures) == len(rows) == len({hashlib.sha256(p).digest() for p in pictures.values()}) == 60
    assert {row["file"] for row in rows} == set(pictures) == {f"pictures/seed={seed:04}.png" for seed in range(1, 61)}
    assert {row["comfyui_version"] for row in rows} == {comfy.get_json("/system_stats")["system"]["comfyui_version"]}
    assert [row["noise_seed"] for row in rows] == [str(seed) for seed in range(1, 61)]
    assert all(pictures[name] == content for name, content in before.items() if not name.endswith(".partial"))
    graph = json.loads(batch.workflow.read_text())
    for row in rows:
        asked = with_inputs(graph, noise_seed=int(row["noise_seed"]))
        written = workflow_in(pictures[row["file"]])
        assert {n: written[n]["inputs"] for n in written} == {n: asked[n]["inputs"] for n in asked}
    for row in (rows[0], rows[14], rows[15], rows[16], rows[40], rows[59]):
        again = comfy.run(with_inputs(graph, noise_seed=int(row["noise_seed"])))
        picture = Image.open(io.BytesIO(pictures[row["file"]])).convert("L")
        assert picture.tobytes() == bytes(again.images[0].byte().flatten().tolist())


def test_a_finished_batch_asks_the_server_for_nothing(batch: Batch, server: ComfyServer, comfy: Client):
    command = ("--server", server.address, "--set", "noise_seed=1..3")
    assert batch.run(*command)[0] == 0
    posted = len(comfy.get_json("/history"))
    before = batch.pictures()
    assert batch.run(*command)[0] == 0
    assert batch.pictures() == before
    assert len(comfy.get_json("/history")) == posted


def test_what_the_server_finished_meanwhile_is_not_made_again(batch: Batch, server: ComfyServer, comfy: Client):
    command = ("--server", server.address, "--set", "noise_seed=1..20")
    posted = len(comfy.get_json("/history"))
    batch.kill_when(batch.start(*command), 5)
    while any(comfy.get_json("/queue").values()):
        time.sleep(0.1)
    assert batch.run(*command)[0] == 0
    assert len(batch.pictures()) == 20
    assert len(comfy.get_json("/history")) == posted + 20


def test_a_grid_and_a_damaged_picture(batch: Batch, server: ComfyServer):
    command = ("--server", server.address, "--set", "noise_seed=1,5", "--set", "4.covariance=lanczos,isotropic")
    assert batch.run(*command)[0] == 0
    rows, pictures = batch.table(), batch.pictures()
    settings = [("1", "lanczos"), ("1", "isotropic"), ("5", "lanczos"), ("5", "isotropic")]
    assert [(row["noise_seed"], row["4.covariance"]) for row in rows] == settings
    assert [row["file"] for row in rows] == [f"pictures/seed=000{seed}_covariance={way}.png" for seed, way in settings]
    with Image.open(batch.out / "contact-sheet.png") as sheet:
        assert sheet.width > 2 * 256 and sheet.height > 2 * 256
    assert {file for entry in batch.plan()["jobs"] for file in entry["files"]} == set(pictures)
    (batch.out / rows[2]["file"]).write_bytes(pictures[rows[2]["file"]][:-20])
    assert batch.run(*command)[0] == 0
    assert {file: len(content) for file, content in batch.pictures().items()} == {
        f: len(c) for f, c in pictures.items()
    }


def test_server_dies(batch: Batch, servers: Servers, pack: Path):
    server = servers.running(pack)
    command = ("--set", "noise_seed=1..20")
    running = batch.start("--server", server.address, *command)
    while len(batch.records()) < 4:
        time.sleep(0.01)
    os.killpg(server.process.pid, signal.SIGKILL)
    output, _ = running.communicate(timeout=SECONDS)
    servers.stop()
    assert running.returncode == 1
    assert "expected a running ComfyUI" in output and "Run the same command again" in output
    assert 4 <= len(batch.records()) < 20
    status, output = batch.run("--server", servers.running(pack).address, *command)
    assert status == 0, output
    assert len(batch.pictures()) == len({row["noise_seed"] for row in batch.table()}) == 20


def test_server_of_its_own_ends_with_it(batch: Batch, server: ComfyServer, servers: Servers):
    servers.stop()
    python, _, *arguments = server.command
    own = [argument for argument in arguments if not argument.startswith("--port")]  # it takes another
    command = ("--set", "noise_seed=1..12", "--comfyui", str(server.checkout), "--python", python, "--", *own)
    batch.kill_when(batch.start(*command), 3)
    gone = time.monotonic() + 30
    while started := [
        p for p in psutil.process_iter(["cmdline"]) if str(server.folder) in " ".join(p.info["cmdline"] or ())
    ]:
        assert time.monotonic() < gone, f"{started} outlived the batch"
        time.sleep(0.1)
    status, output = batch.run(*command)
    assert status == 0, output
    assert len(batch.pictures()) == len(batch.table()) == 12


def test_stopped_by_hand_it_leaves_nothing_queued(batch: Batch, server: ComfyServer, comfy: Client):
    command = ("--server", server.address, "--set", "noise_seed=1..20")
    process = batch.start(*command)
    while len(batch.records()) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130 and "run the same command again" in output and "Traceback" not in output
    while comfy.get_json("/queue")["queue_running"]:
        time.sleep(0.01)
    assert not comfy.get_json("/queue")["queue_pending"]
    files = [file for entry in batch.plan()["jobs"] for file in entry["files"]]
    assert 3 <= len(files) < 20 and set(files) == {row["file"] for row in batch.table()}, "what there is to look at"
    assert batch.run(*command)[0] == 0
    assert len(batch.pictures()) == len(batch.table()) == 20


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("noise_sed=1..3", ("noise_sed", "noise_seed")),
        ("99.noise_seed=1", ("expected a node of the workflow", "RandomNoise")),
        ("model=1,2", ("wired to node 1", "LGSDemoModel")),
        ("lanczos_steps=three", ("expected values like 3", "three")),
        ("covariance=nonesuch", ("nonesuch",)),
        ("lanczos_steps=0", ("LGSSampler", "lanczos_steps", "0")),
    ],
)
def test_wrong_settings(batch: Batch, server: ComfyServer, setting: str, words: tuple[str, ...]):
    status, output = batch.run("--server", server.address, "--set", setting)
    assert status == 1
    assert "Traceback" not in output
    assert all(word in output for word in words), output
    assert not batch.pictures()


def test_node_that_the_host_does_not_have(tmp_path: Path, server: ComfyServer):
    batch = Batch(tmp_path, {"1": {"class_type": "NoSuchNode", "inputs": {}}})
    status, output = batch.run("--server", server.address)
    assert status == 1
    assert "'NoSuchNode'" in output and "Install the node pack" in output


def test_a_failing_job_keeps_those_before_it_and_leaves_nothing_queued(
    batch: Batch, server: ComfyServer, comfy: Client
):
    status, output = batch.run("--server", server.address, "--set", "digits=1,2,x,4")
    assert status == 1
    assert "job 3 (digits = x)" in output and "expected 1 to 64 characters" in output, output
    assert len(batch.pictures()) == len(batch.table()) == 2
    assert [len(entry["files"]) for entry in batch.plan()["jobs"]] == [1, 1, 0, 0]
    assert not any(comfy.get_json("/queue").values())


def test_a_plan_that_grows_finds_what_is_there(batch: Batch, server: ComfyServer, comfy: Client):
    """By values, and by a setting of which one value is the workflow's own."""
    own = json.loads(batch.workflow.read_text())["4"]["inputs"]["covariance"]
    posted = len(comfy.get_json("/history"))
    assert batch.run("--server", server.address, "--set", "noise_seed=1..3")[0] == 0
    before = batch.pictures()
    other = "isotropic" if own != "isotropic" else "secant"
    grown = ("--set", "noise_seed=1..4", "--set", f"4.covariance={own},{other}")
    assert batch.run("--server", server.address, *grown)[0] == 0
    assert len(comfy.get_json("/history")) == posted + 8
    assert batch.pictures().items() >= before.items() and len(batch.pictures()) == len(batch.table()) == 8
    assert [row["4.covariance"] for row in batch.table()][:3] == [own] * 3


def test_a_start_is_fitted_once_for_all_pictures(tmp_path: Path, pack: Path, servers: Servers):
    """The example graph that fits one and samples four with it, over seeds; the host caches as it does by default."""
    server = servers.running(pack, "--cache-classic")
    folder = server.folder / "models" / "lgs"
    shutil.rmtree(folder, ignore_errors=True)
    batch = Batch(tmp_path, shipped(pack, "lgs_start"))
    try:
        status, output = batch.run("--server", server.address, "--set", "noise_seed=1..2")
        assert status == 0, output
        [start] = (folder / "starts").glob("*.safetensors")
        fitted = start.stat().st_mtime_ns

        status, output = batch.run("--server", server.address, "--set", "noise_seed=1..5")
        assert status == 0, output
        assert "20 pictures of 5 jobs" in output, output[-400:]
        assert start.stat().st_mtime_ns == fitted
        assert len({hashlib.sha256(picture).digest() for picture in batch.pictures().values()}) == 20
    finally:
        shutil.rmtree(folder, ignore_errors=True)
