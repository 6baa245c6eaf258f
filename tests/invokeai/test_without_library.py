"""Without a native library InvokeAI starts, its own nodes work, and LGS Denoise says why and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .client import Client
from .conftest import running
from .graphs import text_to_image


@pytest.fixture(scope="module")
def damaged(python: str, pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A page of a server whose pack has nothing in ``bin``, as on a system that there is no build for."""
    copy = tmp_path_factory.mktemp("damaged") / pack.name
    shutil.copytree(pack, copy, ignore=shutil.ignore_patterns("bin", "__pycache__"))
    with running(python, [copy], tmp_path_factory.mktemp("invokeai")) as server:
        yield Client(server.address)


def test_the_node_says_why_and_what_to_do(damaged: Client, folders: dict[str, Path]):
    assert "LGSDenoise" in damaged.get_json("/openapi.json")["components"]["schemas"]
    model = damaged.install(folders["tiny-sd15"])
    run = damaged.run(text_to_image(model).as_json())
    assert run.status == "failed"
    for words in ("liblgs", "found no such file", "Unpack the whole plugin folder again", "make build"):
        assert words in run.error
    assert damaged.run(text_to_image(model, kind="denoise_latents").as_json()).status == "completed"
