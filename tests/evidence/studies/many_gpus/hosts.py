"""Two ComfyUIs beside one: ``lgs batch --ray`` as a user runs it, on this machine's cores."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import lgs
from lgs.batch.errors import BatchError

PACK = Path(lgs.__file__).parents[1]
WORKFLOW = PACK / "example_workflows" / "api" / "lgs_demo_digits.json"


def compare(pictures: int, rounds: int) -> list[dict[str, float]] | None:
    """Pictures a second with one worker and with two, in turn, by the ComfyUI of ``COMFYUI_PATH``; None without it.

    Each ComfyUI computes in one thread. Raises `BatchError` where a batch fails.
    """
    if "COMFYUI_PATH" not in os.environ:
        return None
    return [
        {"workers": workers, "rate": batch(Path(os.environ["COMFYUI_PATH"]), workers, pictures)}
        for _ in range(rounds)
        for workers in (1, 2)
    ]


def batch(checkout: Path, workers: int, pictures: int) -> float:
    """Pictures a second of one batch, once every worker is busy."""
    from example_workflows.server import PackServer, host_environment

    with tempfile.TemporaryDirectory() as scratch:
        out, python = Path(scratch, "out"), os.environ.get("COMFYUI_PYTHON", sys.executable)
        host = PackServer(checkout, python, [PACK], Path(scratch, "host"))
        command = [sys.executable, "-m", "lgs", "batch", WORKFLOW, "--out", out, "--set", f"noise_seed=1..{pictures}"]
        command += ["--ray", "--workers", workers, *host.for_batch()]
        done = subprocess.run([*map(str, command)], env=host_environment(), capture_output=True, text=True)
        if done.returncode:
            raise BatchError(f"expected {pictures} pictures by {workers} ComfyUIs, got: {done.stderr[-2000:]}")
        return rate([file.stat().st_mtime for file in (out / "jobs").iterdir()])


def rate(finished: list[float]) -> float:
    """Pictures a second from the moments when they were finished; the first fifth, while workers start, not counted."""
    counted = sorted(finished)[len(finished) // 5 :]
    return (len(counted) - 1) / (counted[-1] - counted[0])
