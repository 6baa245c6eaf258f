"""An InvokeAI on a loopback port, in a root of its own: `start`, then `stop`, whatever happened in between."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from lgs.batch.server import GUARD

START_SECONDS = 300
STOP_SECONDS = 20

RUN = "import sys; from invokeai.app.run_app import run_app; sys.exit(run_app())"
"""What its command ``invokeai-web`` is."""


class InvokeServer:
    """With ``packs`` in its folder of custom nodes, and ``settings`` beside those of the tests."""

    def __init__(self, python: str, packs: list[Path], root: Path, **settings):
        self.root, self.log = root, root / "server.log"
        self.address = f"127.0.0.1:{_free_port()}"
        for pack in packs:
            shutil.copytree(pack, root / "nodes" / pack.name, ignore=shutil.ignore_patterns("__pycache__"))
        settings = {
            "schema_version": "4.0.2",
            "host": "127.0.0.1",
            "port": int(self.address.split(":")[1]),
            "device": "cpu",
            "precision": "float32",
            "patchmatch": False,
            # A graph that is queued twice is run twice.
            "node_cache_size": 0,
            **settings,
        }
        (root / "invokeai.yaml").write_text(json.dumps(settings))  # which is YAML, too
        self.command = [python, "-c", RUN, "--root", str(root)]
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns once the server answers."""
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", GUARD, str(STOP_SECONDS / 2), "", *self.command],
                env=environment_of_its_own(),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://{self.address}/api/v1/app/version", timeout=5).close()
                return
            except (OSError, HTTPException):
                time.sleep(0.25)
        self.stop()
        raise RuntimeError(f"expected InvokeAI to start, got: {self.log_text()[-3000:]}")

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def tensor_file(self, name: str) -> Path:
        """Where it keeps what a node has made, by the name that the node's output gives: a tensor or conditioning."""
        [file] = [*self.root.glob(f"outputs/tensors/*/{name}"), *self.root.glob(f"outputs/conditioning/*/{name}")]
        return file

    def tensor(self, name: str) -> Tensor:
        return torch.load(self.tensor_file(name), weights_only=True)

    def keep(self, name: str, tensor: Tensor) -> dict:
        """Has it know a tensor as if a node had made it; gives what a graph calls it."""
        [folder] = self.root.glob("outputs/tensors/tmp*")
        torch.save(tensor, folder / name)
        return {"latents_name": name}

    def keep_prompt(self, file: Path) -> dict:
        """Has it know a prompt as if a node had made it; gives what a graph calls it."""
        [folder] = self.root.glob("outputs/conditioning/tmp*")
        shutil.copy(file, folder)
        return {"conditioning_name": file.name}


def environment_of_its_own() -> dict[str, str]:
    """What its interpreter is run with: no modules from PYTHONPATH, no network, one thread if not told otherwise."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    return environment | {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
