"""An InvokeAI for the tests, started when first asked for, and tiny models in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .client import Client
from .reference import Reference
from .server import InvokeServer, environment_of_its_own

HERE = Path(__file__).parent

HOW = "to run these in a real InvokeAI, set INVOKEAI_PYTHON to the interpreter of an environment that has it"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "INVOKEAI_PYTHON" not in os.environ:
        for item in items:
            if item.path.parent == HERE:
                item.add_marker(pytest.mark.skip(reason=HOW))


@pytest.fixture(scope="session")
def python() -> str:
    return os.environ["INVOKEAI_PYTHON"]


@pytest.fixture(scope="session")
def pack() -> Path:
    """The assembled drop-in folder."""
    folder = HERE.parents[1] / "dist" / "invokeai-lgs"
    if not (folder / "__init__.py").is_file():
        pytest.fail(f"there is no node pack at {folder}: run 'make build' first")
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, python: str) -> dict[str, Path]:
    """Models with random weights and prompts, by name; see `checkpoints`."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([python, HERE / "checkpoints.py", folder], env=environment_of_its_own(), check=True)
    return {place.stem: place for place in folder.iterdir()}


@contextlib.contextmanager
def running(python: str, packs: list[Path], root: Path, **settings) -> Iterator[InvokeServer]:
    server = InvokeServer(python, packs, root, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, python: str, pack: Path) -> Iterator[InvokeServer]:
    with running(python, [pack, HERE / "tiny_flux"], tmp_path_factory.mktemp("invokeai")) as server:
        yield server


@pytest.fixture(scope="session")
def invoke(server: InvokeServer) -> Client:
    """A page of the server."""
    return Client(server.address)


@pytest.fixture(scope="session")
def models(invoke: Client, folders: dict[str, Path]) -> dict[str, dict]:
    """The models as graphs name them, installed through InvokeAI's model manager."""
    names = ("tiny-sd15", "tiny-inpainting", "tiny-sdxl", "tiny-controlnet", "tiny-flux")
    names += ("tiny-lora", "tiny-t2i-adapter", "tiny-ip-adapter")
    # By this name an IP-Adapter looks for it.
    invoke.install(folders["tiny-image-encoder"], name="IP Adapter SD1.5 Image Encoder")
    return {name: invoke.install(folders[name]) for name in names}


@pytest.fixture(scope="session")
def reference(python: str, pack: Path, folders: dict[str, Path]) -> Iterator[Reference]:
    with Reference(python, pack, folders) as reference:
        yield reference
