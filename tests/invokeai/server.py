"""An InvokeAI on a loopback port, in a root of its own: `start`, then `stop`, whatever happened in between."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from torch import Tensor

from lgs.batch.guarded import Guarded

RUN = "import sys; from invokeai.app.run_app import run_app; sys.exit(run_app())"
"""What its command ``invokeai-web`` is."""


class InvokeServer(Guarded):
    """With ``packs`` in its folder of custom nodes, and ``settings`` beside those of the tests."""

    def __init__(self, python: str, packs: list[Path], root: Path, **settings):
        super().__init__("InvokeAI", "/api/v1/app/version", root / "server.log", environment_of_its_own())
        self.root = root
        for pack in packs:
            shutil.copytree(pack, root / "nodes" / pack.name, ignore=shutil.ignore_patterns("__pycache__"))
        settings = {
            "schema_version": "4.0.2",
            "host": "127.0.0.1",
            "port": int(self.port),
            "device": "cpu",
            "precision": "float32",
            "patchmatch": False,
            # A graph that is queued twice is run twice.
            "node_cache_size": 0,
            **settings,
        }
        (root / "invokeai.yaml").write_text(json.dumps(settings))  # which is YAML, too
        self.command = [python, "-c", RUN, "--root", str(root)]

    def start(self) -> None:
        """Returns once the server answers."""
        self.run(self.command)

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
