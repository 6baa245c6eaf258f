"""LGS Demo Model is the bundled model: ComfyUI draws with it what plain PyTorch draws."""

from pathlib import Path

import pytest

from .client import Client, Rejected
from .graphs import DECODE, MODEL, SAMPLER, assert_read, digit_mean, draw, karras_sigmas, with_inputs, with_node

ROUNDING = 2.0
"""Grey levels that two pictures may differ by: the saved one is cut to whole numbers."""


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_euler_in_comfyui_is_euler_in_pytorch(comfy: Client, example: dict, pack: Path, guidance: float):
    euler = with_node(with_inputs(example, cfg=guidance, noise_seed=5), SAMPLER, "KSamplerSelect", sampler_name="euler")
    run = comfy.run(euler)
    expected = draw(digit_mean(pack, "0123456789", guidance), karras_sigmas(10), 10, seed=5, eta=0.0)
    assert (run.images - expected).abs().max() <= ROUNDING


def test_digits_are_drawn_in_the_order_asked_for(comfy: Client, example: dict):
    run = comfy.run(with_inputs(example, digits="31415926"))
    assert_read(run.images, "31415926")


def test_any_digit(comfy: Client, example: dict):
    run = comfy.run(with_inputs(example, digits="????"))
    assert run.images.shape == (4, 32, 32)


@pytest.mark.parametrize("digits", ["", "12a", "4" * 65, "7\n", "٣"])
def test_other_text_is_refused(comfy: Client, example: dict, digits: str):
    with pytest.raises(Rejected) as refused:
        comfy.run(with_inputs(example, digits=digits))
    assert "expected 1 to 64 characters" in refused.value.errors["digits"]


def test_other_text_from_another_node_is_refused(comfy: Client, example: dict):
    graph = with_node(example, "20", "PrimitiveString", value="four")
    run = comfy.run(with_inputs(graph, digits=["20", 0]))
    assert run.outcome == "execution_error"
    assert run.details["node_type"] == "LGSDemoModel"
    assert "digits: expected 1 to 64 characters" in run.details["exception_message"]
    assert "'four'" in run.details["exception_message"]


@pytest.mark.parametrize("tiled", ["", "Tiled"])
def test_vae_encodes_what_it_decodes(comfy: Client, example: dict, tiled: str):
    once = comfy.run(example)
    tiles = {"tile_size": 64, "overlap": 0, "temporal_size": 64, "temporal_overlap": 8} if tiled else {}
    latent = {"samples": example[DECODE]["inputs"]["samples"], "vae": [MODEL, 3]}
    graph = with_node(example, "20", f"VAEDecode{tiled}", **latent, **tiles)
    graph = with_node(graph, "21", f"VAEEncode{tiled}", pixels=["20", 0], vae=[MODEL, 3], **tiles)
    graph = with_node(graph, DECODE, "VAEDecode", samples=["21", 0], vae=[MODEL, 3])
    assert (comfy.run(graph).images - once.images).abs().max() <= 1.0
