"""A ComfyUI server for the tests: one at a time, started when first asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from lgs.batch.errors import BatchError

from . import graphs
from .client import Client
from .loaded import SIZE
from .server import ComfyServer, host_environment

HERE = Path(__file__).parent

HOW = "to run these in a real ComfyUI, set COMFYUI_PATH to its checkout and COMFYUI_PYTHON to its interpreter"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "COMFYUI_PATH" not in os.environ:
        for item in items:
            if item.path.parent == HERE:
                item.add_marker(pytest.mark.skip(reason=HOW))


class Servers:
    """Starts a server for a pack, stopping the one that ran before: two would share the processor."""

    def __init__(self, folders: pytest.TempPathFactory):
        self.folders = folders
        self.serves: tuple[Path | str, ...] = ()
        self.server: ComfyServer | None = None
        self.failure = ""

    def running(self, pack: Path, *arguments: str) -> ComfyServer:
        """A server that has this pack and was started with these further command line arguments."""
        if self.failure:  # it would fail again, slowly, for every test
            pytest.fail(self.failure, pytrace=False)
        if self.serves != (pack, *arguments):
            self.stop()
            checkout = Path(os.environ["COMFYUI_PATH"])
            python = os.environ.get("COMFYUI_PYTHON", sys.executable)
            self.server = ComfyServer(checkout, python, pack, self.folders.mktemp("comfyui"), *arguments)
            try:
                self.server.start()
            except BatchError as error:
                self.failure = str(error)
                raise
            self.serves = (pack, *arguments)
        return self.server

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
        self.server, self.serves = None, ()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory)
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def pack() -> Path:
    """The assembled drop-in folder."""
    default = HERE.parents[1] / "dist" / "comfyui-lgs"
    folder = Path(os.environ.get("COMFYUI_LGS_PACK", default))
    if not (folder / "__init__.py").is_file():
        pytest.fail(f"there is no node pack at {folder}: run 'make build' first")
    return folder


@pytest.fixture
def server(servers: Servers, pack: Path) -> ComfyServer:
    return servers.running(pack)


@pytest.fixture
def comfy(server: ComfyServer) -> Client:
    """A client of a server that has the pack."""
    return Client(server.address)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with random weights, as ComfyUI has one; see `checkpoints`."""
    folder = tmp_path_factory.mktemp("models")
    command = [os.environ.get("COMFYUI_PYTHON", sys.executable), HERE / "checkpoints.py", folder]
    subprocess.run(command, cwd=os.environ["COMFYUI_PATH"], env=host_environment(), check=True)
    return folder


@pytest.fixture
def server_with_models(server: ComfyServer, models: Path) -> ComfyServer:
    """A server whose loaders offer these models, and a picture: colours at random."""
    for folder in models.iterdir():
        place = server.folder / "models" / folder.name
        if not place.exists():
            place.symlink_to(folder, target_is_directory=True)
    colours = torch.randint(256, (8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(colours.numpy()).resize((SIZE, SIZE)).save(server.folder / "input" / "picture.png")
    return server


@pytest.fixture
def server_with_fused_attention(servers: Servers, pack: Path) -> ComfyServer:
    """A server that uses PyTorch's fused attention, as it does by itself on an NVIDIA GPU."""
    return servers.running(pack, "--use-pytorch-cross-attention")


@pytest.fixture
def example(pack: Path) -> dict:
    """The example graph of the digits."""
    return graphs.example(pack)
