"""A ComfyUI server with the node pack in its ``custom_nodes``, in a folder of its own.

The checkout is not written to: models, outputs, user data and custom nodes are under ``folder``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from batch.server import Server

TINY_MODELS = Path(__file__).with_name("tiny_models")


class ComfyServer(Server):
    """One server, with its outputs, its user data and its custom nodes in ``folder``."""

    def __init__(self, checkout: Path, python: str, pack: Path, folder: Path, *arguments: str):
        self.folder = folder
        for name in ("custom_nodes", "input", "output", "user", "models"):
            (folder / name).mkdir(parents=True)
        for source, name in ((pack, "comfyui-lgs"), (TINY_MODELS, TINY_MODELS.name)):
            shutil.copytree(source, folder / "custom_nodes" / name, ignore=shutil.ignore_patterns("__pycache__"))
        own = [
            "--cpu",
            "--disable-api-nodes",
            f"--base-directory={folder}",
            f"--database-url=sqlite:///{folder}/user/comfyui.db",
            "--preview-method=latent2rgb",
            # A graph posted twice is run twice, unless asked otherwise.
            *(() if any(argument.startswith("--cache") for argument in arguments) else ("--cache-none",)),
        ]
        super().__init__(checkout, python, [*own, *arguments], folder / "server.log", host_environment())


def host_environment() -> dict[str, str]:
    """What ComfyUI's interpreter is run with: nothing of the modules of these tests; one thread, if not told otherwise;
    and it leaves nothing in the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment
