"""Processes are killed at random moments: each picture is there once, with the bytes of a run in which none was.

In `make test`, where Ray is installed, each kind of process is killed once. ``LGS_RAY_ROUNDS=20`` kills that many, in a
batch of ten pictures for each; ``LGS_RAY_SEED`` repeats a schedule.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lgs.batch.dispatch.dispatcher import HELD

from .faults import KINDS, SECONDS, Cluster, Faults

pytest.importorskip("ray", reason="to run these, install Ray: pip install ray==2.60.0")

FAKE = Path(__file__).with_name("fake_comfyui")
ROUNDS = int(os.environ.get("LGS_RAY_ROUNDS", len(KINDS)))
PICTURES = 10 * ROUNDS
SERVICE_SECONDS = 0.25

pytestmark = pytest.mark.timeout(120 + 60 * ROUNDS)


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps({"1": {"class_type": "Noise", "inputs": {"seed": 1}}}))
    return file


@pytest.fixture
def undisturbed(tmp_path: Path, workflow: Path) -> dict[str, bytes]:
    """The pictures of a run without Ray, and without faults."""
    out = tmp_path / "undisturbed"
    command = [sys.executable, "-m", "lgs", "batch", workflow, "--out", out, "--set", f"seed=1..{PICTURES}"]
    command += ["--comfyui", FAKE, "--", "--seconds=0", f"--output-directory={tmp_path / 'made'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    return pictures(out)


def pictures(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in out.glob("pictures/*")}


@pytest.fixture(params=["own", "existing"])
def faults(request: pytest.FixtureRequest, tmp_path: Path, workflow: Path) -> Iterator[Faults]:
    cluster = Cluster(2) if request.param == "existing" else None
    seed = int(os.environ.get("LGS_RAY_SEED", random.SystemRandom().randrange(10**6)))
    made = tmp_path / "made.txt"
    arguments = [str(workflow), "--set", f"seed=1..{PICTURES}", "--workers", "2", "--comfyui", str(FAKE)]
    arguments += ["--ray", *([cluster.address] if cluster else [])]
    arguments += ["--", f"--seconds={SERVICE_SECONDS}", f"--made={made}"]
    try:
        if cluster:
            cluster.wait()
        yield Faults(arguments, tmp_path / "out", str(made), PICTURES, seed, SERVICE_SECONDS, cluster)
    finally:
        if cluster:
            cluster.stop()


def test_each_picture_is_there_once_with_its_bytes(faults: Faults, undisturbed: dict[str, bytes]):
    said = faults.run(ROUNDS)

    assert f"{PICTURES} pictures of {PICTURES} jobs" in said, faults.said()
    assert pictures(faults.out) == undisturbed, faults.said()
    records = [json.loads(file.read_text()) for file in faults.records()]
    assert sorted(record["settings"]["seed"] for record in records) == list(range(1, PICTURES + 1)), faults.said()
    assert sorted(p["file"] for record in records for p in record["pictures"]) == sorted(
        f"pictures/{name}" for name in undisturbed
    ), faults.said()
    faults.wait_until_no_host_is_left()
    made = [line.split()[0] for line in Path(faults.marker).read_text().splitlines()]
    print(f"{faults.said()}\n{len(made)} made for {PICTURES}")
    assert len(set(made)) == PICTURES <= len(made) <= PICTURES + 2 * HELD * ROUNDS, "what was on its way is made again"
