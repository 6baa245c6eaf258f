"""LGS Report in ComfyUI: it tells of the run that made the latent, whatever ran in between."""

import re

import pytest

from .client import Client, Run
from .conftest import Servers
from .graphs import SAMPLER, SAMPLING, SIGMAS, with_inputs, with_node

REPORT, TEXT = "30", "31"


def with_report(graph: dict, report: str = REPORT, text: str = TEXT, latent: str = SAMPLING) -> dict:
    """A copy with LGS Report behind the sampling node ``latent``, and its text shown."""
    graph = with_node(graph, report, "LGSReport", sampler=[SAMPLER, 0], latent=[latent, 0])
    return with_node(graph, text, "PreviewAny", source=[report, 1])


def told(run: Run, text: str = TEXT) -> str:
    assert run.outcome == "execution_success", run.details
    (words,) = run.outputs[text]["text"]
    return words


@pytest.fixture
def comfy_that_remembers(servers: Servers, pack) -> Client:
    """A client of a server that keeps what nodes gave, of earlier graphs too."""
    return Client(servers.running(pack, "--cache-lru", "100").address)


def test_the_report_is_of_this_run(comfy: Client, example: dict):
    run = comfy.run(with_report(with_inputs(example, jvp="finite-difference", noise_seed=3)))
    words = told(run)
    assert words.startswith("10 steps, 37 model evaluations, ")
    assert "batch of 10, seed 3" in words
    lines = re.findall(r"^ +(\d+) +([\d.]+) +(\d+) +(\d+) ", words, re.MULTILINE)
    assert [line[0] for line in lines] == [str(number) for number in range(1, 11)]
    assert [line[2:] for line in lines] == 9 * [("4", "3")] + [("1", "0")]
    assert "set covariance from sigma to" in words

    (file,) = run.outputs[REPORT]["images"]
    picture = comfy.picture(file)
    assert picture.size == (1200, 960)
    colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0, 114, 178), (230, 159, 0), (0, 158, 115)} <= colours, "bars and lines"


def test_each_of_two_sampling_nodes_has_its_own(comfy: Client, example: dict):
    """One sampler, first the upper four noise levels, then the rest: as graphs of two stages have it."""
    graph = with_node(example, "20", "SplitSigmas", sigmas=[SIGMAS, 0], step=4)
    second = {**graph[SAMPLING]["inputs"], "noise": ["21", 0], "sigmas": ["20", 1], "latent_image": [SAMPLING, 0]}
    graph = with_node(graph, "21", "DisableNoise")
    graph = with_node(graph, "22", "SamplerCustomAdvanced", **second)
    graph[SAMPLING]["inputs"]["sigmas"] = ["20", 0]
    run = comfy.run(with_report(with_report(graph), "40", "41", latent="22"))
    assert told(run).startswith("4 steps, ")
    assert told(run, "41").startswith("6 steps, ")


def test_runs_that_differ_behind_a_mask_alone_are_told_apart(comfy: Client, example: dict):
    """Two seeds of one sampler, in the right half of one latent."""
    graph = with_node(example, "20", "SolidMask", value=0.0, width=32, height=32)
    graph = with_node(graph, "21", "SolidMask", value=1.0, width=16, height=32)
    place = {"x": 16, "y": 0, "operation": "add"}
    graph = with_node(graph, "22", "MaskComposite", destination=["20", 0], source=["21", 0], **place)
    latent = graph[SAMPLING]["inputs"]["latent_image"]
    graph = with_node(graph, "23", "SetLatentNoiseMask", samples=latent, mask=["22", 0])
    graph = with_inputs(graph, noise_seed=3)
    graph[SAMPLING]["inputs"]["latent_image"] = ["23", 0]
    graph = with_node(graph, "24", "RandomNoise", noise_seed=4)
    graph = with_node(graph, "25", "SamplerCustomAdvanced", **{**graph[SAMPLING]["inputs"], "noise": ["24", 0]})
    run = comfy.run(with_report(with_report(graph), "40", "41", latent="25"))
    assert "seed 3" in told(run) and "seed 4" in told(run, "41")
    assert not any("not what this" in told(run, text) for text in (TEXT, "41"))


def test_a_latent_of_the_cache_is_told_by_its_own_run(comfy_that_remembers: Client, example: dict):
    first, second = (with_inputs(example, noise_seed=seed) for seed in (3, 4))
    for graph in (first, second):
        assert comfy_that_remembers.run(graph).steps
    run = comfy_that_remembers.run(with_report(first))
    assert not run.steps, "or it was sampled anew"
    assert "seed 3" in told(run)


def test_a_latent_that_was_changed_is_said_to_be(comfy: Client, example: dict):
    graph = with_node(example, "20", "LatentFlip", samples=[SAMPLING, 0], flip_method="x-axis: vertically")
    words = told(comfy.run(with_report(graph, latent="20")))
    assert words.startswith("The connected latent is not what this LGS Sampler made")
    assert "10 steps" in words


def test_another_sampler_is_refused(comfy: Client, example: dict):
    run = comfy.run(with_report(with_node(example, SAMPLER, "KSamplerSelect", sampler_name="euler")))
    assert run.outcome == "execution_error"
    assert run.details["node_type"] == "LGSReport"
    assert "expected the SAMPLER of LGS Sampler" in run.details["exception_message"]


def test_a_sampler_that_has_not_sampled_is_refused(comfy: Client, example: dict):
    graph = with_report(with_node(example, "20", "LGSSampler"))
    graph[REPORT]["inputs"]["sampler"] = ["20", 0]
    run = comfy.run(graph)
    assert run.outcome == "execution_error"
    assert "Connect one and the same LGS Sampler" in run.details["exception_message"]
