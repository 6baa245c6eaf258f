"""LGS Denoise for Flux gives the latents of `lgs.sample`, for the same noise and schedule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .client import Client, Run
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


@pytest.fixture
def latents(server: InvokeServer) -> dict:
    numbers = torch.randn(1, 16, SIZE // 8, SIZE // 8, generator=torch.Generator().manual_seed(1))
    return server.keep("Tensor_of_latents", numbers)


def test_behind_a_mask_the_rest_is_kept(
    invoke: Client, server: InvokeServer, models: dict, prompts: dict, noise: dict, latents: dict
):
    """As with InvokeAI's own Euler, which steps without noise are; it rounds them to bfloat16, and ours not."""
    kept = torch.zeros(1, 1, SIZE // 8, SIZE // 8)
    kept[..., : SIZE // 16] = 1
    mask = {"mask_name": server.keep("Tensor_of_mask", kept)["latents_name"], "gradient": False}
    given = {"noise": noise, "latents": latents, "denoise_mask": mask, "denoising_start": 0.2}

    def drawn(**inputs) -> torch.Tensor:
        run = invoke.run(flux(models["tiny-flux"], prompts, **given, **inputs).as_json())
        assert run.status == "completed", run.error
        return server.tensor(run.outputs["denoise"]["latents"]["latents_name"])

    eulers = drawn(kind="flux_denoise")
    ours = drawn(covariance="isotropic", eta=0.0, other_steps="isotropic")
    secants = drawn()
    picture = server.tensor(latents["latents_name"]).bfloat16().float()
    for found in (eulers, ours, secants):
        torch.testing.assert_close(found[..., : SIZE // 16], picture[..., : SIZE // 16], rtol=0.01, atol=0.01)
    assert (ours - eulers).norm() < 0.02 * eulers.norm() < (secants - picture).norm()


def test_cancel_in_the_middle(invoke: Client, models: dict, prompts: dict):
    seen = []

    def cancel(run: Run) -> None:
        if run.of("denoise") and run.of("denoise")[-1] and not seen:
            seen.append(run.of("denoise")[-1])
            invoke.cancel(run)

    run = invoke.run(flux(models["tiny-flux"], prompts, num_steps=1000).as_json(), on_progress=cancel)
    assert run.status == "canceled" and seen[0] < 0.5
    again = invoke.run(flux(models["tiny-flux"], prompts).as_json())
    assert again.status == "completed" and again.of("denoise")[-1] == 1
