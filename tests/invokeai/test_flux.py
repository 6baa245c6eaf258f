"""LGS Denoise for Flux gives the latents of `lgs.sample`, for the same noise and schedule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .client import Client
from .graphs import SIZE, flux
from .reference import Reference
from .server import InvokeServer
from .test_sampling import assert_close, options


@pytest.fixture(scope="session")
def prompts(server: InvokeServer, folders: dict[str, Path]) -> dict[str, dict]:
    return {name: server.keep_prompt(folders[f"flux-{name}"]) for name in ("positive", "negative")}


@pytest.fixture
def noise(server: InvokeServer) -> dict:
    numbers = torch.randn(1, 16, SIZE // 8, SIZE // 8, generator=torch.Generator().manual_seed(0))
    return server.keep("Tensor_of_noise", numbers)


@pytest.mark.parametrize(
    "inputs, case",
    [
        ({}, {}),
        ({"eta": 0.5}, {}),
        ({"covariance": "isotropic", "eta": 1.0}, {}),
        ({"denoising_end": 0.6}, {"end": 0.6}),
        ({"cfg_scale": 3.0}, {"cfg_scale": 3.0}),
    ],
    ids=str,
)
def test_the_latents(
    invoke: Client,
    server: InvokeServer,
    models: dict,
    folders: dict[str, Path],
    prompts: dict,
    noise: dict,
    reference: Reference,
    tmp_path: Path,
    inputs: dict,
    case: dict,
):
    if "cfg_scale" in case:
        inputs = inputs | {"negative_text_conditioning": prompts["negative"]}
        case = case | {"negative": str(folders["flux-negative"])}
    graph = flux(models["tiny-flux"], prompts, noise=noise, **inputs)
    run = invoke.run(graph.as_json())
    assert run.status == "completed", run.error
    expected = reference.latents(
        "tiny-flux",
        tmp_path / "expected",
        options=options(**{name: inputs[name] for name in ("covariance", "eta") if name in inputs}),
        noise=str(server.tensor_file(noise["latents_name"])),
        seed=7,
        positive=str(folders["flux-positive"]),
        steps=5,
        size=SIZE,
        **case,
    )
    assert_close(server.tensor(run.outputs["denoise"]["latents"]["latents_name"]), expected)
