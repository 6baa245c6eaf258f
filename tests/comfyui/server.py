"""A ComfyUI server with the node pack, and with a second pack of tiny models for the tests."""

from __future__ import annotations

from pathlib import Path

from example_workflows.server import PackServer, host_environment

__all__ = ["ComfyServer", "host_environment"]

TINY_MODELS = Path(__file__).with_name("tiny_models")


class ComfyServer(PackServer):
    """One server, in ``folder``."""

    def __init__(self, checkout: Path, python: str, pack: Path, folder: Path, *arguments: str):
        super().__init__(checkout, python, [TINY_MODELS], folder, *arguments)
        self.install(pack, "comfyui-lgs")
