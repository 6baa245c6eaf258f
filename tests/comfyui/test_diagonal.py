"""Load Diagonal Covariance: the list it offers, the files it loads, and the ones it refuses."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .client import Client, Rejected
from .graphs import SAMPLER, assert_read, with_inputs, with_node
from .server import ComfyServer

LOADER = "20"
BUNDLED = "bundled digits"


@pytest.fixture
def folder(server: ComfyServer):
    """ComfyUI's folder of learned diagonals, which is not there before and after."""
    folder = server.folder / "models" / "lgs"
    assert not folder.exists()
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def learned(example: dict, file: object, **options: object) -> dict:
    """The example graph with the diagonal of a file in its sampler."""
    graph = with_node(example, LOADER, "LGSLoadDiagonal", file=file)
    graph[SAMPLER]["inputs"] |= {"covariance": "diagonal-learned", "diagonal": [LOADER, 0], **options}
    return graph


def offered(comfy: Client) -> list[str]:
    _kind, options = comfy.get_json("/object_info/LGSLoadDiagonal")["LGSLoadDiagonal"]["input"]["optional"]["file"]
    return options["options"]


def refusal(comfy: Client, graph: dict) -> str:
    """What ComfyUI says about a graph that the loader refuses, before it runs or while it does."""
    try:
        run = comfy.run(graph)
    except Rejected as rejected:
        return rejected.errors["file"]
    assert run.outcome == "execution_error"
    assert run.details["node_type"] == "LGSLoadDiagonal"
    return run.details["exception_message"]


def test_it_is_listed_with_the_bundled_file_where_there_is_no_folder(comfy: Client, server: ComfyServer):
    assert not (server.folder / "models" / "lgs").exists()
    info = comfy.get_json("/object_info/LGSLoadDiagonal")["LGSLoadDiagonal"]
    assert info["display_name"] == "Load Diagonal Covariance"
    assert info["output"] == ["LGS_DIAGONAL"]
    assert offered(comfy) == [BUNDLED]


def test_the_list_survives_a_folder_that_comes_and_goes(comfy: Client, server: ComfyServer):
    folder = server.folder / "models" / "lgs"
    folder.mkdir()
    assert offered(comfy) == [BUNDLED]
    folder.rmdir()
    assert offered(comfy) == [BUNDLED]


def test_it_lists_what_is_in_the_folder_now(comfy: Client, folder: Path):
    (folder / "deeper").mkdir()
    for name in ("mine.safetensors", "deeper/other.safetensors", "notes.txt", "old.ckpt"):
        (folder / name).touch()
    assert offered(comfy) == [BUNDLED, str(Path("deeper", "other.safetensors")), "mine.safetensors"]
    (folder / "mine.safetensors").unlink()
    assert offered(comfy) == [BUNDLED, str(Path("deeper", "other.safetensors"))]


def test_the_bundled_file_samples(comfy: Client, example: dict):
    graph = learned(example, BUNDLED, eta=0.5)
    run = comfy.run(graph)
    assert run.outcome == "execution_success", run.details
    assert_read(run.images, "0123456789")
    plain = comfy.run(with_inputs(graph, covariance="isotropic"))
    assert (run.images - plain.images).abs().max() > 10, "the covariance is another"


def test_a_copy_in_the_folder_is_the_bundled_file(comfy: Client, example: dict, pack: Path, folder: Path):
    shutil.copy(pack / "models" / "digits-diagonal.safetensors", folder / "copy.safetensors")
    own, bundled = (comfy.run(learned(example, file)) for file in ("copy.safetensors", BUNDLED))
    assert own.images.equal(bundled.images)


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda shipped: b"",
    "text": lambda shipped: b"not a model\n" * 50,
    "cut short": lambda shipped: shipped[:-100],
    "huge header": lambda shipped: b"\xff" * 8 + shipped[8:],
}


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_file_is_refused(comfy: Client, example: dict, pack: Path, folder: Path, spoil):
    shipped = (pack / "models" / "digits-diagonal.safetensors").read_bytes()
    (folder / "bad.safetensors").write_bytes(spoil(shipped))
    message = refusal(comfy, learned(example, "bad.safetensors"))
    assert str(folder / "bad.safetensors") in message
    assert "expected a safetensors file" in message and "Choose one" in message


def test_another_model_s_weights_are_refused(comfy: Client, example: dict, pack: Path, folder: Path):
    shutil.copy(pack / "models" / "digits.safetensors", folder)
    message = refusal(comfy, learned(example, "digits.safetensors"))
    assert "expected format 'lgs-diagonal' in its metadata, got None" in message


@pytest.mark.parametrize(
    "file", ["gone.safetensors", "", "../../user/comfyui.db", "/etc/passwd", "digits-diagonal.safetensors"]
)
def test_a_file_that_is_not_there_is_refused(comfy: Client, example: dict, server: ComfyServer, file: str):
    message = refusal(comfy, learned(example, file))
    assert f"expected one of {BUNDLED}, got {file!r}" in message
    assert str(server.folder / "models" / "lgs") in message


def test_sampling_another_model_says_so(comfy: Client, example: dict):
    """The network belongs to one model: here it meets latents of another size."""
    graph = learned(example, BUNDLED)
    graph["22"] = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}}
    graph["23"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["22", 0], "vae": ["1", 3]}}
    sampling = next(node for node in graph.values() if "latent_image" in node["inputs"])
    sampling["inputs"]["latent_image"] = ["23", 0]
    run = comfy.run(with_inputs(graph, digits="3"))
    assert run.outcome == "execution_error"
    assert "lgs-digits: expected x of shape (batch, 1, 32, 32), got (1, 1, 64, 64)" in run.details["exception_message"]
