"""The shipped example workflows: found by the template browser, the same in both formats, and run."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import lgs
from example_workflows import declared
from example_workflows.editor_format import to_api
from example_workflows.thumbnails import put_input, right_half

from .client import Client
from .graphs import SAMPLER, assert_read, shipped, with_inputs, with_node
from .server import ComfyServer

NAMES = ["lgs_demo_digits", *declared.EXAMPLES]
ROUNDING = 1.0
"""Grey levels that an untouched pixel may differ by: saved, loaded and saved again."""


@pytest.fixture(scope="module")
def infos_by_address() -> dict[str, dict]:
    return {}


@pytest.fixture
def infos(comfy: Client, infos_by_address: dict[str, dict]) -> dict[str, dict]:
    """What the host says of all nodes."""
    if comfy.address not in infos_by_address:
        infos_by_address[comfy.address] = comfy.get_json("/object_info")
    return infos_by_address[comfy.address]


def test_all_are_listed_as_templates(comfy: Client):
    assert {pack: sorted(names) for pack, names in comfy.get_json("/workflow_templates").items()} == {
        "comfyui-lgs": sorted(NAMES)
    }


@pytest.mark.parametrize("name", NAMES)
def test_template_has_a_workflow_and_a_thumbnail(comfy: Client, name: str):
    assert comfy.get_json(f"/api/workflow_templates/comfyui-lgs/{name}.json")["version"] == 0.4
    thumbnail = Image.open(io.BytesIO(comfy.get(f"/api/workflow_templates/comfyui-lgs/{name}.jpg")))
    assert thumbnail.format == "JPEG" and 200 <= max(thumbnail.size) <= 512


@pytest.mark.parametrize("name", NAMES)
def test_both_formats_are_one_graph(comfy: Client, infos: dict, pack: Path, name: str):
    workflow = comfy.get_json(f"/api/workflow_templates/comfyui-lgs/{name}.json")
    assert to_api(infos, workflow) == shipped(pack, name)


@pytest.mark.parametrize("name", NAMES)
def test_links_agree_with_the_nodes(comfy: Client, name: str):
    workflow = comfy.get_json(f"/api/workflow_templates/comfyui-lgs/{name}.json")
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"]) and max(nodes) == workflow["last_node_id"]
    for number, source, slot, target, entry, kind in workflow["links"]:
        output, wired = nodes[source]["outputs"][slot], nodes[target]["inputs"][entry]
        assert number in output["links"] and wired["link"] == number <= workflow["last_link_id"]
        assert kind == output["type"] and wired["type"] in (kind, "*")
    ends = [entry["link"] for node in nodes.values() for entry in node["inputs"] if entry["link"] is not None]
    assert sorted(ends) == sorted(link[0] for link in workflow["links"])


@pytest.mark.parametrize("name", declared.EXAMPLES)
def test_files_are_what_is_declared(infos: dict, pack: Path, name: str):
    graph, _ = declared.EXAMPLES[name]
    assert shipped(pack, name) == declared.complete(infos, graph()), "run python -m example_workflows again"


def test_the_digits(comfy: Client, pack: Path):
    """As shipped, and as fast as its settings promise: one evaluation a step."""
    graph = shipped(pack, "lgs_demo_digits")
    recommended = lgs.Options.recommended()
    shown = recommended.as_dict() | {"covariance": recommended.solver}
    assert graph[SAMPLER]["inputs"] == {name: shown[name] for name in graph[SAMPLER]["inputs"]}
    graph = with_node(graph, "30", "PreviewAny", source=["12", 1])
    run = comfy.run(with_inputs(graph, jvp="finite-difference"))
    assert_read(run.images, "0123456789")
    assert run.outputs["30"]["text"][0].startswith("10 steps, 10 model evaluations, ")


def test_the_report(comfy: Client, pack: Path):
    run = comfy.run(declared.with_digits(shipped(pack, "lgs_report"), "2684"))
    assert comfy.picture(run.outputs[declared.REPORT]["images"][0]).size == (1200, 960)
    assert run.outputs[declared.TEXT]["text"][0].startswith("12 steps, ")
    assert_read(run.images, "2684")


def test_the_covariance(comfy: Client, server: ComfyServer, pack: Path):
    put_input(server, comfy.run(declared.with_digits(shipped(pack, "lgs_txt2img"), "7")).images[0])
    run = comfy.run(declared.with_digits(shipped(pack, "lgs_covariance"), "7"))
    assert run.outcome == "execution_success", run.details
    for node in (declared.DEVIATION, declared.COMPONENTS, declared.DRAWN):
        assert run.outputs[node]["images"], node
    assert "Standard deviation" in run.outputs[declared.TEXT]["text"][0]


def test_from_noise(comfy: Client, pack: Path):
    graph = declared.with_digits(shipped(pack, "lgs_txt2img"), "0123456789")
    assert_read(comfy.run(with_inputs(graph, noise_seed=5)).images, "0123456789")


def test_from_an_image(comfy: Client, server: ComfyServer, pack: Path):
    start = comfy.run(declared.with_digits(shipped(pack, "lgs_txt2img"), "7")).images[0]
    put_input(server, start)
    graph = with_inputs(declared.with_digits(shipped(pack, "lgs_img2img"), "2"), noise_seed=5)
    little, much = (comfy.run(with_inputs(graph, denoise=denoise)).images[0] for denoise in (0.2, 0.9))
    assert (little - start).norm() < 0.2 * start.norm() < (much - start).norm()


def test_behind_a_mask(comfy: Client, server: ComfyServer, pack: Path):
    start = comfy.run(declared.with_digits(shipped(pack, "lgs_txt2img"), "7")).images[0]
    mask = right_half(start)
    put_input(server, start, mask)
    graph = declared.with_digits(shipped(pack, "lgs_inpaint"), "7")
    painted = comfy.run(with_inputs(graph, noise_seed=3)).images[0]
    assert (painted - start)[~mask].abs().max() <= ROUNDING
    assert (painted - start)[mask].abs().max() > 50


def test_samplers_side_by_side(comfy: Client, pack: Path):
    beside = comfy.run(declared.with_digits(shipped(pack, "lgs_compare_samplers"), "2684")).images
    alone = comfy.run(declared.with_digits(shipped(pack, "lgs_txt2img"), "2684")).images
    dpmpp, dpmpp_sde, lgs = beside.split(32, dim=2)
    assert torch.equal(lgs, alone)
    for one, other in ((dpmpp, dpmpp_sde), (dpmpp_sde, lgs), (dpmpp, lgs)):
        assert (one - other).abs().mean() > 0.5


def test_starts_side_by_side(comfy: Client, server: ComfyServer, pack: Path):
    """Two samplers without a start and with it: what is fitted is kept, and begins far below the noise."""
    graph = shipped(pack, "lgs_start")
    run = comfy.run(graph)
    assert run.outcome == "execution_success", run.details
    assert "fitted to the model itself, in 80 evaluations" in run.outputs[declared.TEXT]["text"][0]
    assert (server.folder / "models" / "lgs" / "starts" / "digit 5.safetensors").is_file()
    shutil.rmtree(server.folder / "models" / "lgs")
    pictures = run.images.split(32, dim=2)
    assert len(pictures) == 4
    for plain, started in (pictures[:2], pictures[2:]):
        assert (plain - started).abs().mean() > 1
    assert_read(torch.cat([pictures[1], pictures[3]]), "5" * 8)


def test_a_start_from_its_file(comfy: Client, pack: Path):
    run = comfy.run(shipped(pack, "lgs_start_load"))
    assert_read(run.images, "0123456789")
    assert "fitted to the model itself, in 512 evaluations" in run.outputs[declared.TEXT]["text"][0]
