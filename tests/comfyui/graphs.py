"""Variations of the shipped example graph, and what they should draw, in plain PyTorch."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

import lgs
from evidence.models.classifier import load_classifier
from lgs.digits import SIZE, Digits, label_context, load_unet

from .server import ComfyServer

Denoiser = Callable[[Tensor, Tensor], Tensor]

MODEL, NOISE, GUIDER, SAMPLER, SIGMAS, SAMPLING, DECODE, SAVE = (str(number) for number in range(1, 9))
"""The nodes of the example graph."""


def shipped(pack: Path, name: str) -> dict:
    """An example graph in API format, as shipped."""
    return json.loads((pack / "example_workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))


def example(pack: Path) -> dict:
    """The example graph of the digits as far as Save Image, with seed 1 and the method as its paper has it: every
    option at the library's default."""
    graph = shipped(pack, "lgs_demo_digits")
    graph = {number: node for number, node in graph.items() if int(number) <= int(SAVE)}
    options = lgs.Options().as_dict()
    return with_inputs(graph, noise_seed=1, **{name: options[name] for name in graph[SAMPLER]["inputs"]})


def with_inputs(graph: dict, **inputs: object) -> dict:
    """A copy with inputs set, each on the one node that has an input of this name."""
    graph = copy.deepcopy(graph)
    for name, value in inputs.items():
        (node,) = (node for node in graph.values() if name in node["inputs"])
        node["inputs"][name] = value
    return graph


def with_node(graph: dict, number: str, class_type: str, **inputs: object) -> dict:
    """A copy with a node put in, in the place of the one with this number if there is one."""
    return {**copy.deepcopy(graph), number: {"class_type": class_type, "inputs": inputs}}


def with_tiny_model(graph: dict, architecture: str, dtype: str = "float32") -> dict:
    """A copy with a model of ``tiny_models`` in the place of the digits, four guided steps, and the latent saved."""
    graph = with_node(graph, MODEL, "LGSTestTinyModel", architecture=architecture, dtype=dtype)
    graph = with_node(graph, SIGMAS, "BasicScheduler", model=[MODEL, 0], scheduler="simple", steps=4, denoise=1.0)
    graph = with_node(graph, SAVE, "SaveLatent", samples=[SAMPLING, 0], filename_prefix="tiny")
    graph[GUIDER]["inputs"] |= {"negative": [MODEL, 1], "cfg": 1.5}
    graph[SAMPLING]["inputs"]["latent_image"] = [MODEL, 2]
    del graph[DECODE]
    return graph


def saved_latent(server: ComfyServer) -> Tensor:
    """The latent that the last run saved."""
    return load_file(max((server.folder / "output").glob("tiny_*.latent")))["latent_tensor"]


def karras_sigmas(steps: int) -> Tensor:
    """The example's noise levels: 20 to 0.03, rho 7, then 0."""
    ramp = torch.linspace(0, 1, steps)
    high, low = 20 ** (1 / 7), 0.03 ** (1 / 7)
    return torch.cat([(high + ramp * (low - high)) ** 7, torch.zeros(1)])


def digit_mean(pack: Path, digits: str, guidance: float = 1.0) -> Denoiser:
    """The posterior mean of LGS Demo Model, guided."""
    return Digits(load_unet(pack / "models" / "digits.safetensors"), torch.tensor([*map(int, digits)]), guidance)


def digit_mean_as_flow(pack: Path, digits: str) -> Denoiser:
    """What ModelSamplingSD3 makes of the same network: D(x, sigma) = x - sigma F(x, 1000 sigma)."""
    unet = load_unet(pack / "models" / "digits.safetensors")
    context = label_context(torch.tensor([*map(int, digits)]))
    return lambda x, sigma: x - sigma[:, None, None, None] * unet(x, 1000 * sigma, context)


def draw(
    denoise: Denoiser, sigmas: Tensor, batch: int, seed: int, *, flow: bool = False, eta: float, s_noise: float = 1.0
) -> Tensor:
    """The isotropic reverse process of design.md, section 4, with ComfyUI's noise: grey levels, 0..255.

    eta = 0 is DDIM, which for a variance-exploding process is k-diffusion's Euler method.
    """
    shape = (batch, 1, SIZE, SIZE)
    later = _noise(seed + 1, shape)
    with torch.no_grad():
        x = _noise(seed, shape)() * sigmas[0]
        for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
            denoised = denoise(x, sigma.expand(batch))
            if sigma_next == 0:
                x = denoised
                break
            alpha, alpha_next = (1 - sigma, 1 - sigma_next) if flow else (1.0, 1.0)
            v = (sigma**2 - (alpha / alpha_next * sigma_next) ** 2) * sigma_next**2 / sigma**2
            a = (sigma_next**2 - eta**2 * v).clamp(min=0).sqrt() / sigma
            x = a * x + (alpha_next - alpha * a) * denoised + eta * v.sqrt() * s_noise * later()
    return ((x[:, 0] + 1) / 2).clamp(0, 1) * 255


def _noise(seed: int, shape: tuple[int, ...]) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator)


def read_digits(images: Tensor) -> str:
    """What the classifier of `evidence.models` reads in images (n, 32, 32) of grey levels."""
    return "".join(str(label) for label in load_classifier()(images[:, None] / 127.5 - 1).argmax(dim=1).tolist())


def assert_read(images: Tensor, asked: str) -> None:
    """The classifier reads what was asked for; one digit may be drawn badly, as one in thirty is."""
    read = read_digits(images)
    assert sum(one == other for one, other in zip(read, asked, strict=True)) >= len(asked) - 1, read
