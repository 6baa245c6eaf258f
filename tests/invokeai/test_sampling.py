"""LGS Denoise gives the latents of `lgs.sample`, for the same noise and schedule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from lgs.node_manifest import options_of, shown_inputs

from .client import Client
from .graphs import SIZE, Graph, text_to_image
from .reference import Reference
from .server import InvokeServer

SEED = 7
TOLERANCE = 1e-5

OTHERS = {
    "noise": ("noise", "noise", "latents_name"),
    "positive": ("positive", "conditioning", "conditioning_name"),
    "negative": ("negative", "conditioning", "conditioning_name"),
    "latents": ("encoded", "latents", "latents_name"),
    "mask": ("mask", "denoise_mask", "mask_name"),
}
"""What the reference needs of what InvokeAI's other nodes make: the node, its output and the name of a file in it."""


def options(**inputs) -> dict:
    """The options that the node's inputs stand for, with the node's defaults."""
    defaults = {entry["id"]: entry["default"] for entry in shown_inputs("LGSSampler")}
    return options_of("LGSSampler", defaults | inputs)


class Comparison:
    """Runs graphs in InvokeAI, and the same by the reference."""

    def __init__(self, invoke: Client, server: InvokeServer, models: dict, reference: Reference, file: Path):
        self.invoke, self.server, self.models = invoke, server, models
        self.reference, self.file = reference, file

    def latents(self, graph: Graph) -> tuple[Tensor, dict[str, str]]:
        """What the node has made, and the files of what it was made of."""
        run = self.invoke.run(graph.as_json())
        assert run.status == "completed", run.error
        files = {
            name: str(self.server.tensor_file(run.outputs[node][output][kind]))
            for name, (node, output, kind) in OTHERS.items()
            if node in run.outputs
        }
        return self.server.tensor(run.outputs["denoise"]["latents"]["latents_name"]), files

    def equal(self, graph: Graph, model: str = "tiny-sd15", **case) -> None:
        """``case`` is what the reference is told beside the node's steps, guidance and LGS's own inputs."""
        got, files = self.latents(graph)
        node = graph.nodes["denoise"]
        names = {entry["id"] for entry in shown_inputs("LGSSampler")}
        expected = self.reference.latents(
            model,
            self.file,
            options=options(**{name: value for name, value in node.items() if name in names}),
            seed=SEED,
            steps=node["steps"],
            cfg_scale=node["cfg_scale"],
            **files,
            **case,
        )
        assert_close(got, expected)


def assert_close(got: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    """Within `TOLERANCE` of ``scale``; entries are about 1 to 30."""
    assert got.shape == expected.shape and expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE * scale)


@pytest.fixture
def comparison(invoke: Client, server: InvokeServer, models: dict, reference: Reference, tmp_path: Path) -> Comparison:
    return Comparison(invoke, server, models, reference, tmp_path / "expected")


@pytest.fixture(scope="session")
def picture(invoke: Client) -> dict:
    """Colours at random, in squares."""
    colours = torch.randint(256, (8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return invoke.upload(Image.fromarray(colours.numpy()).resize((SIZE, SIZE)))


@pytest.fixture(scope="session")
def half_masked(invoke: Client) -> dict:
    """White, where the picture stays, on the left."""
    mask = Image.new("L", (SIZE, SIZE), 0)
    mask.paste(255, (0, 0, SIZE // 2, SIZE))
    return invoke.upload(mask)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"eta": 0.5, "s_noise": 0.9},
        {"covariance": "lanczos", "lanczos_steps": 2, "eta": 0.5},
        {"covariance": "lanczos", "jvp": "forward"},
        {"covariance": "isotropic", "eta": 1.0, "other_steps": "isotropic"},
        {"covariance": "diagonal", "probes": 2, "jvp": "finite-difference"},
        {"covariance": "spectral", "jvp": "central-difference"},
    ],
    ids=str,
)
def test_every_mode(comparison: Comparison, inputs: dict):
    comparison.equal(text_to_image(comparison.models["tiny-sd15"], **inputs))


def test_sdxl(comparison: Comparison):
    comparison.equal(text_to_image(comparison.models["tiny-sdxl"]), "tiny-sdxl")


def test_karras_levels_and_a_guidance_for_each_step(comparison: Comparison):
    graph = text_to_image(comparison.models["tiny-sd15"], scheduler="euler_k", cfg_scale=[6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    comparison.equal(graph, karras=True)


def test_a_run_that_ends_above_zero(comparison: Comparison):
    """The secant looks once more at the last level."""
    comparison.equal(text_to_image(comparison.models["tiny-sd15"], denoising_end=0.6), end=0.6)


def encoded(graph: Graph, picture: dict) -> Graph:
    return graph.add("encoded", "i2l", image=picture, vae=("model", "vae"))


def test_image_to_image(comparison: Comparison, picture: dict):
    graph = text_to_image(comparison.models["tiny-sd15"], denoising_start=0.4, latents=("encoded", "latents"))
    comparison.equal(encoded(graph, picture), start=0.4)


@pytest.mark.parametrize("inputs", [{}, {"covariance": "lanczos", "jvp": "forward"}], ids=str)
def test_a_mask(comparison: Comparison, picture: dict, half_masked: dict, inputs: dict):
    wired = {"latents": ("encoded", "latents"), "denoise_mask": ("mask", "denoise_mask")}
    graph = encoded(text_to_image(comparison.models["tiny-sd15"], **wired, **inputs), picture)
    comparison.equal(graph.add("mask", "create_denoise_mask", vae=("model", "vae"), mask=half_masked))


def test_a_soft_mask(comparison: Comparison, picture: dict, half_masked: dict):
    wired = {"latents": ("encoded", "latents"), "denoise_mask": ("mask", "denoise_mask")}
    graph = encoded(text_to_image(comparison.models["tiny-sd15"], **wired), picture)
    comparison.equal(graph.add("mask", "create_gradient_mask", mask=half_masked, edge_radius=32), soft=True)


def host_features(models: dict, picture: dict, half_masked: dict) -> dict[str, Callable[[str], Graph]]:
    """What InvokeAI's own node can do, in graphs with a node of a kind."""
    model = models["tiny-sd15"]

    def controlled(kind: str, **inputs) -> Graph:
        graph = text_to_image(model, kind=kind, control=("control", "control"))
        return graph.add("control", "controlnet", image=picture, control_model=models["tiny-controlnet"], **inputs)

    def patched(kind: str, patch: str, **inputs) -> Graph:
        return text_to_image(model, kind=kind, unet=("patch", "unet")).add(
            "patch", patch, unet=("model", "unet"), **inputs
        )

    def adapted(kind: str, name: str, **inputs) -> Graph:
        graph = text_to_image(model, kind=kind, **{name: (name, name)})
        return graph.add(
            name, name, image=picture, **{f"{name}_model": models[f"tiny-{name.replace('_', '-')}"]}, **inputs
        )

    def regional(kind: str) -> Graph:
        graph = text_to_image(model, kind=kind, positive_conditioning=("prompts", "collection"))
        graph.add("left", "rectangle_mask", width=SIZE, height=SIZE, **dict.fromkeys(("x_left", "y_top"), 0))
        graph.nodes["left"] |= {"rectangle_width": SIZE // 2, "rectangle_height": SIZE}
        graph.add("tree", "compel", prompt="a green tree", clip=("model", "clip"), mask=("left", "mask"))
        for prompt in ("positive", "tree"):
            graph.add("prompts", "collect", item=(prompt, "conditioning"))
        return graph

    def inpainted(kind: str) -> Graph:
        wired = {"latents": ("encoded", "latents"), "denoise_mask": ("mask", "denoise_mask")}
        graph = encoded(text_to_image(models["tiny-inpainting"], kind=kind, **wired), picture)
        return graph.add("mask", "create_denoise_mask", vae=("model", "vae"), image=picture, mask=half_masked)

    return {
        "LoRA": lambda kind: patched(kind, "lora_loader", lora=models["tiny-lora"]),
        "T2I-Adapter": lambda kind: adapted(kind, "t2i_adapter"),
        "T2I-Adapter, in part": lambda kind: adapted(kind, "t2i_adapter", end_step_percent=0.5),
        "IP-Adapter": lambda kind: adapted(kind, "ip_adapter"),
        "IP-Adapter, in part": lambda kind: adapted(kind, "ip_adapter", weight=0.6, begin_step_percent=0.4),
        "inpainting model": inpainted,
        "regional prompts": regional,
        "ControlNet": controlled,
        "ControlNet, in part": lambda kind: controlled(kind, begin_step_percent=0.3, end_step_percent=0.6),
        "ControlNet, more control": lambda kind: controlled(kind, control_mode="more_control", control_weight=0.7),
        "CFG rescale": lambda kind: text_to_image(model, kind=kind, cfg_rescale_multiplier=0.7),
        "FreeU": lambda kind: patched(kind, "freeu"),
        "seamless": lambda kind: patched(kind, "seamless"),
    }


FEATURES = list(host_features(defaultdict(dict), {}, {}))


@pytest.mark.parametrize("feature", FEATURES)
def test_what_invokeais_own_node_can_do(comparison: Comparison, picture: dict, half_masked: dict, feature: str):
    """With no noise and one variance for all pixels a step is Euler's, in InvokeAI's own node without ours."""
    made = host_features(comparison.models, picture, half_masked)[feature]
    expected, _ = comparison.latents(made("denoise_latents"))
    plain, _ = comparison.latents(text_to_image(comparison.models["tiny-sd15"], kind="denoise_latents"))
    assert (expected - plain).abs().max() > 1e-3 * plain.abs().max(), "it has an effect"
    graph = made("lgs_denoise_latents")
    graph.nodes["denoise"] |= {"covariance": "isotropic", "eta": 0.0, "other_steps": "isotropic"}
    got, _ = comparison.latents(graph)
    # Another order of the same operations: rounding is in proportion.
    assert_close(got, expected, expected.abs().max().item())


@pytest.mark.parametrize("feature", FEATURES)
def test_products_know_of_it(comparison: Comparison, picture: dict, half_masked: dict, feature: str):
    """Forward mode goes through what the feature puts into the model: difference quotients say the same."""

    def latents(**inputs) -> Tensor:
        graph = host_features(comparison.models, picture, half_masked)[feature]("lgs_denoise_latents")
        graph.nodes["denoise"] |= {"covariance": "lanczos", "eta": 0.5, **inputs}
        return comparison.latents(graph)[0]

    exact, quotients, without = latents(jvp="forward"), latents(jvp="central-difference"), latents(covariance="secant")
    assert (exact - without).abs().max() > 0.01 * exact.abs().max()
    torch.testing.assert_close(quotients, exact, rtol=0, atol=1e-3 * exact.abs().max().item())
