"""A ComfyUI server with node packs in its ``custom_nodes``, in a folder of its own.

The checkout is not written to: models, outputs, user data and custom nodes are under ``folder``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lgs.batch.server import Server


class PackServer(Server):
    """One server, with its outputs, its user data and its custom nodes in ``folder``."""

    def __init__(self, checkout: Path, python: str, packs: Iterable[Path], folder: Path, *arguments: str):
        self.folder = folder
        for name in ("custom_nodes", "input", "output", "user", "models"):
            (folder / name).mkdir(parents=True)
        for pack in packs:
            self.install(pack, pack.name)
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

    def for_batch(self) -> list[str]:
        """The arguments with which ``lgs batch`` starts such servers itself, each with outputs of its own."""
        python, _, *arguments = self.command
        each = ("--port", "--database-url")
        kept = [argument for argument in arguments if not argument.startswith(each)]
        return ["--comfyui", str(self.checkout), "--python", python, "--", *kept]

    def install(self, pack: Path, name: str) -> None:
        """Copies a pack; what is linked into it too."""
        shutil.copytree(pack, self.folder / "custom_nodes" / name, ignore=shutil.ignore_patterns("__pycache__"))


def host_environment() -> dict[str, str]:
    """What ComfyUI's interpreter is run with: no modules from PYTHONPATH; one thread, if not told otherwise;
    and it leaves nothing in the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment
