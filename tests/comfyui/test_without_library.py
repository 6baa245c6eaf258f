"""Without a native library that fits, ComfyUI starts, all other nodes work, and LGS Sampler says why and what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .client import Client
from .conftest import Servers
from .graphs import SAMPLER, assert_read, with_node


def nothing_at_all(folder: Path) -> None:
    """As on a platform that there is no build for, whose library has another name."""
    for file in folder.iterdir():
        file.unlink()


def library_of_another_platform(folder: Path) -> None:
    """As where the folder was copied from another machine: Apple's format, under the name that is looked for."""
    (folder / "liblgs.so").write_bytes(bytes.fromhex("cffaedfe0c000001") + bytes(4096))


def engine_for_another_torch(folder: Path) -> None:
    """As where the host's torch is older than any engine that there is."""
    change_builds(folder, torch="99.0")


def engine_for_another_platform(folder: Path) -> None:
    """As where engines of several platforms lie side by side, and this one's is not among them."""
    change_builds(folder, platform="windows-x86_64")


def change_builds(folder: Path, **entries: str) -> None:
    file = folder / "engines.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    manifest["engines"] = [build | entries for build in manifest["engines"]]
    file.write_text(json.dumps(manifest), encoding="utf-8")


WORDS = {
    nothing_at_all: ["liblgs", "found no such file", "Unpack the whole plugin folder again", "make build"],
    library_of_another_platform: ["liblgs", "cannot be loaded", "on linux-x86_64", "Unpack the whole plugin folder"],
    engine_for_another_torch: [
        "no engine for torch 2.",
        "torch 99.0 and newer on linux-x86_64",
        "Install torch 99.0 or newer in",
        "README",
    ],
    engine_for_another_platform: ["no engine for torch 2.", "on windows-x86_64", "Build one on this", "README"],
}
"""What LGS Sampler says of each."""


@pytest.fixture(params=WORDS, ids=lambda damage: damage.__name__, scope="module")
def damage(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return request.param


@pytest.fixture(scope="module")
def damaged_pack(damage: Callable[[Path], None], pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the pack with something wrong in ``bin``."""
    copy = tmp_path_factory.mktemp(damage.__name__) / "comfyui-lgs"
    shutil.copytree(pack, copy, ignore=shutil.ignore_patterns("__pycache__"))
    damage(copy / "bin")
    return copy


@pytest.fixture
def damaged(servers: Servers, damaged_pack: Path) -> Client:
    """A client of a server with that pack."""
    return Client(servers.running(damaged_pack).address)


def test_nodes_are_listed(damaged: Client):
    info = damaged.get_json("/object_info")
    assert {"LGSSampler", "LGSDemoModel", "LGSLoadDiagonal"} <= set(info)
    assert len(info) > 100, "ComfyUI's own nodes"


def test_running_the_sampler_says_why_and_what_to_do(damaged: Client, example: dict, damage: Callable[[Path], None]):
    run = damaged.run(example)
    assert run.outcome == "execution_error"
    assert run.details["node_type"] == "LGSSampler"
    message = run.details["exception_message"]
    for words in WORDS[damage]:
        assert words in message, message


def test_everything_else_works(damaged: Client, example: dict):
    """The bundled model with a sampler of ComfyUI's own, after an error of ours as before."""
    graph = with_node(example, SAMPLER, "KSamplerSelect", sampler_name="heun")
    assert damaged.run(example).outcome == "execution_error"
    assert_read(damaged.run(graph).images, "0123456789")


def test_the_source_as_it_stands_is_a_pack_without_a_library(servers: Servers):
    """It is laid out as it is shipped, so that its imports work; ``bin`` alone is missing."""
    comfy = Client(servers.running(Path(__file__).resolve().parents[2] / "host-shim" / "comfyui").address)
    assert {"LGSSampler", "LGSDemoModel", "LGSLoadDiagonal", "LGSReport", "LGSCovariance"} <= set(
        comfy.get_json("/object_info")
    )
    graph = {"1": {"class_type": "LGSSampler", "inputs": {}}, "2": {"class_type": "LGSReport", "inputs": {}}}
    graph["2"]["inputs"] = {"sampler": ["1", 0], "latent": ["3", 0]}
    graph["3"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    run = comfy.run(graph)
    assert run.outcome == "execution_error" and "found no such file" in run.details["exception_message"]
