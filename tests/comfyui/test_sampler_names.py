"""LGS in ComfyUI's own list: KSampler, KSampler (Advanced) and KSamplerSelect with ``lgs`` and ``lgs_lanczos``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .client import Client, Rejected, Run
from .conftest import Servers
from .graphs import GUIDER, MODEL, NOISE, SAMPLER, SAMPLING, SAVE, SIGMAS, assert_read, with_inputs, with_node

NAMES = {"lgs": "secant", "lgs_lanczos": "lanczos"}
STEPS, SEED = 6, 5


def options(comfy: Client, node: str) -> list[str]:
    """What a node offers as its sampler's name."""
    entry = comfy.get_json(f"/object_info/{node}")[node]["input"]["required"]["sampler_name"]
    return entry[0] if isinstance(entry[0], list) else entry[1]["options"]


def by_node(comfy: Client, example: dict, mode: str) -> dict:
    """The example with LGS Sampler at its defaults but for the mode, noise levels of the scheduler "karras"."""
    declared = comfy.get_json("/object_info/LGSSampler")["LGSSampler"]["input"]["optional"]
    defaults = {name: entry[1]["default"] for name, entry in declared.items() if "default" in entry[1]}
    assert {"lanczos_steps", "eta"} < defaults.keys()
    graph = with_node(example, SAMPLER, "LGSSampler", **defaults | {"covariance": mode})
    graph = with_node(graph, SIGMAS, "BasicScheduler", model=[MODEL, 0], scheduler="karras", steps=STEPS, denoise=1.0)
    return with_inputs(graph, noise_seed=SEED)


def by_name(example: dict, name: str, node: str = "KSampler", **more: object) -> dict:
    """The same with one of ComfyUI's own sampling nodes."""
    inputs = {
        "model": [MODEL, 0],
        "positive": example[GUIDER]["inputs"]["positive"],
        "negative": example[GUIDER]["inputs"]["negative"],
        "latent_image": example[SAMPLING]["inputs"]["latent_image"],
        "steps": STEPS,
        "cfg": 1.0,
        "sampler_name": name,
        "scheduler": "karras",
    } | more
    graph = with_node(example, SAMPLING, node, **inputs)
    return {number: one for number, one in graph.items() if number not in (SAMPLER, SIGMAS, GUIDER, NOISE)}


@pytest.mark.parametrize("node", ["KSampler", "KSamplerAdvanced", "KSamplerSelect"])
def test_they_are_in_the_list_once_and_last(comfy: Client, node: str):
    names = options(comfy, node)
    assert [names.count(name) for name in NAMES] == [1, 1] and "euler" in names
    assert names.index("euler") < min(names.index(name) for name in NAMES)


@pytest.mark.parametrize(("name", "mode"), NAMES.items())
def test_it_is_lgs_sampler_at_its_defaults(comfy: Client, example: dict, name: str, mode: str):
    expected = comfy.run(by_node(comfy, example, mode))
    came = comfy.run(by_name(example, name, seed=SEED, denoise=1.0))
    assert (expected.outcome, came.outcome) == ("execution_success", "execution_success"), came.details
    assert torch.equal(came.images, expected.images)
    # A bar and a preview at each step, as with any built-in one.
    assert [(message["value"], message["max"]) for message in came.steps] == [(n, STEPS) for n in range(1, STEPS + 1)]
    assert len(came.previews) == STEPS


def test_it_draws_the_digits(comfy: Client, example: dict):
    run = comfy.run(by_name(example, "lgs", seed=SEED, denoise=1.0, steps=12))
    assert run.outcome == "execution_success", run.details
    assert_read(run.images, "0123456789")


def test_in_two_parts_by_the_advanced_node(comfy: Client, example: dict):
    """The first leaves its noise, the second goes on from there without adding any."""
    whole = {"add_noise": "enable", "noise_seed": SEED, "start_at_step": 0, "end_at_step": 10_000}
    whole |= {"return_with_leftover_noise": "disable"}
    run = comfy.run(by_name(example, "lgs", "KSamplerAdvanced", **whole))
    assert run.outcome == "execution_success", run.details
    first = by_name(
        example, "lgs", "KSamplerAdvanced", **whole | {"end_at_step": 3, "return_with_leftover_noise": "enable"}
    )
    second = first[SAMPLING]["inputs"] | {"add_noise": "disable", "start_at_step": 3, "latent_image": ["split", 0]}
    second |= {"end_at_step": 10_000, "return_with_leftover_noise": "disable"}
    parts = {**first, "split": first[SAMPLING], SAMPLING: {"class_type": "KSamplerAdvanced", "inputs": second}}
    came = comfy.run(parts)
    assert came.outcome == "execution_success", came.details
    # The secant's memory of the step before is lost between them, and nothing else.
    assert (came.images - run.images).abs().mean() < 12


def test_a_name_for_the_custom_samplers(comfy: Client, example: dict):
    graph = with_node(by_node(comfy, example, "secant"), SAMPLER, "KSamplerSelect", sampler_name="lgs")
    assert torch.equal(comfy.run(graph).images, comfy.run(by_node(comfy, example, "secant")).images)


def test_a_part_of_the_noise_and_a_mask(comfy: Client, example: dict):
    """Image to image: from the picture of one run, noised in part."""
    drawn = by_name(example, "lgs", seed=SEED, denoise=1.0)
    again = drawn[SAMPLING]["inputs"] | {"latent_image": ["drawn", 0], "denoise": 0.4, "seed": SEED + 1}
    graph = {**drawn, "drawn": drawn[SAMPLING], SAMPLING: {"class_type": "KSampler", "inputs": again}}
    run, first = comfy.run(graph), comfy.run(drawn)
    assert run.outcome == "execution_success", run.details
    assert 0 < (run.images - first.images).abs().mean() < 40


def test_behind_a_mask(comfy: Client, example: dict):
    """The left half is drawn anew, the right one stays."""
    drawn = by_name(example, "lgs", seed=SEED, denoise=1.0)
    graph = {**drawn, "drawn": drawn[SAMPLING]}
    graph = with_node(graph, "black", "SolidMask", value=0.0, width=32, height=32)
    graph = with_node(graph, "white", "SolidMask", value=1.0, width=16, height=32)
    graph = with_node(
        graph, "mask", "MaskComposite", destination=["black", 0], source=["white", 0], x=0, y=0, operation="add"
    )
    graph = with_node(graph, "masked", "SetLatentNoiseMask", samples=["drawn", 0], mask=["mask", 0])
    again = drawn[SAMPLING]["inputs"] | {"latent_image": ["masked", 0], "seed": SEED + 1}
    graph[SAMPLING] = {"class_type": "KSampler", "inputs": again}
    run, first = comfy.run(graph), comfy.run(drawn)
    assert run.outcome == "execution_success", run.details
    difference = (run.images - first.images).abs()
    assert difference[:, :, 16:].max() <= 1 and difference[:, :, :16].mean() > 5


@pytest.mark.parametrize("name", NAMES)
def test_the_stop_button_ends_it(comfy: Client, example: dict, name: str):
    def stop_at_once(run: Run, kind: str) -> None:
        if kind == "progress" and not stopped:
            stopped.append(True)
            comfy.interrupt()

    stopped: list[bool] = []
    run = comfy.run(by_name(example, name, seed=SEED, denoise=1.0, steps=2000), on_message=stop_at_once)
    assert run.outcome == "execution_interrupted" and len(run.steps) < 1000
    assert comfy.run(by_name(example, name, seed=SEED, denoise=1.0)).outcome == "execution_success"


def test_what_it_refuses_names_it(comfy: Client, example: dict):
    graph = with_node(by_name(example, "lgs_lanczos", seed=SEED, denoise=1.0), "cached", "EasyCache", model=[MODEL, 0])
    graph["cached"]["inputs"] |= {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}
    graph[SAMPLING]["inputs"]["model"] = ["cached", 0]
    run = comfy.run(graph)
    assert run.outcome == "execution_error"
    message = run.details["exception_message"]
    assert "the sampler lgs_lanczos: expected the model itself to be evaluated" in message


@pytest.mark.parametrize("pack", ["NODE_CLASS_MAPPINGS = {}", "raise ImportError('broken')"], ids=["without", "broken"])
def test_without_the_pack_a_saved_graph_gets_the_host_s_own_message(servers: Servers, tmp_path: Path, pack: str):
    """In the place of the pack another one, or one that cannot be loaded: the host's list is as it was."""
    folder = tmp_path / "comfyui-lgs"
    folder.mkdir()
    (folder / "__init__.py").write_text(pack)
    comfy = Client(servers.running(folder).address)
    assert not set(NAMES) & set(options(comfy, "KSampler"))
    tiny = {"architecture": "unet", "dtype": "float32"}
    graph = {
        MODEL: {"class_type": "LGSTestTinyModel", "inputs": tiny},
        SAVE: {"class_type": "SaveLatent", "inputs": {"samples": [SAMPLING, 0], "filename_prefix": "tiny"}},
    }
    inputs = {"model": [MODEL, 0], "positive": [MODEL, 1], "negative": [MODEL, 1], "latent_image": [MODEL, 2]}
    inputs |= {"steps": STEPS, "cfg": 1.0, "scheduler": "karras", "seed": SEED, "denoise": 1.0}
    for name in NAMES:
        with pytest.raises(Rejected) as rejected:
            comfy.run(with_node(graph, SAMPLING, "KSampler", **inputs, sampler_name=name))
        assert rejected.value.errors["sampler_name"].startswith("Value not in list: sampler_name: ")
        assert f"'{name}' not in " in rejected.value.errors["sampler_name"]
    assert comfy.run(with_node(graph, SAMPLING, "KSampler", **inputs, sampler_name="euler")).outcome == (
        "execution_success"
    )
