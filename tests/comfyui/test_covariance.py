"""LGS Covariance in ComfyUI: its draws vary as the model's Jacobian says, and its map shows where."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from .client import Client, Run
from .graphs import DECODE, GUIDER, MODEL, NOISE, SAMPLER, SAMPLING, SAVE, SIGMAS, digit_mean, with_inputs, with_node

COVARIANCE, TEXT = "20", "21"
DEVIATION, COMPONENTS, MEAN, DRAWN, WORDS = range(5)
"""The node's outputs."""

DIGIT = "3"


def looking(example: dict, save: int = DRAWN, **inputs: object) -> dict:
    """The example's model and noise, looked at instead of sampled; output ``save`` of the node is saved."""
    graph = {number: node for number, node in example.items() if number not in (SAMPLER, SIGMAS, SAMPLING, DECODE)}
    wired = {"guider": [GUIDER, 0], "noise": [NOISE, 0], "latent_image": [MODEL, 4], "vae": [MODEL, 3]}
    graph = with_node(graph, COVARIANCE, "LGSCovariance", **wired, **inputs)
    graph = with_node(graph, TEXT, "PreviewAny", source=[COVARIANCE, WORDS])
    graph[SAVE]["inputs"]["images"] = [COVARIANCE, save]
    return with_inputs(graph, digits=DIGIT, noise_seed=7)


def images(run: Run) -> Tensor:
    assert run.outcome == "execution_success", run.details
    return run.images / 255


def posterior(pack: Path, sigma: float) -> tuple[Tensor, Tensor]:
    """D and sigma^2 (J + J^T) / 2 at the noise of seed 7, (1024,) and (1024, 1024)."""
    denoise = digit_mean(pack, DIGIT)
    x = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(7)) * sigma
    level = torch.tensor([sigma])
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(lambda x: denoise(x, level).flatten(), x).reshape(1024, 1024)
    with torch.no_grad():
        return denoise(x, level).flatten(), sigma**2 * (jacobian + jacobian.T) / 2


def test_draws_vary_as_the_jacobian_says(comfy: Client, example: dict, pack: Path):
    sigma = 0.5
    drawn = images(comfy.run(looking(example, sigma=sigma, draws=64, lanczos_steps=12))).flatten(1)
    mean, covariance = posterior(pack, sigma)
    values, vectors = torch.linalg.eigh(covariance)
    z = torch.randn(2000, 1024, generator=torch.Generator().manual_seed(0))
    # As pictures: white is 1, and nothing is darker than black.
    expected = ((mean + z @ (vectors * values.clamp(min=0).sqrt()) @ vectors.T + 1) / 2).clamp(0, 1)
    assert len(drawn) == 64
    assert (drawn.mean(dim=0) - expected.mean(dim=0)).abs().mean() < 0.02
    came, wanted = drawn.std(dim=0), expected.std(dim=0)
    assert wanted.max() > 0.1, "or there is nothing to compare"
    assert torch.corrcoef(torch.stack([came, wanted]))[0, 1] > 0.9
    assert came.norm() == pytest.approx(wanted.norm().item(), rel=0.2)


def test_the_map_is_bright_where_draws_vary(comfy: Client, example: dict):
    inputs = {"sigma": 0.5, "draws": 16, "lanczos_steps": 6}
    deviation = images(comfy.run(looking(example, **inputs))).std(dim=0)
    run = comfy.run(looking(example, save=DEVIATION, **inputs))
    [shown] = images(run)
    assert shown.shape == (32, 32)
    # Viridis' grey levels rise with what it shows.
    order = [t.flatten().argsort().argsort().float() for t in (shown, deviation)]
    assert torch.corrcoef(torch.stack(order))[0, 1] > 0.95
    [text] = run.outputs[TEXT]["text"]
    assert text.startswith("Standard deviation at sigma 0.5")
    said = float(text.split(": ")[1].split()[0])
    assert said == pytest.approx(deviation.square().mean().sqrt().item(), abs=0.003)


def test_the_mean_is_the_posterior_mean_and_the_seed_decides_the_draws(comfy: Client, example: dict, pack: Path):
    mean = images(comfy.run(looking(example, save=MEAN, sigma=0.5, draws=2)))
    expected = ((posterior(pack, 0.5)[0].reshape(1, 32, 32) + 1) / 2).clamp(0, 1)
    assert (mean - expected).abs().max() <= 2 / 255
    first, again, other = (
        images(comfy.run(with_inputs(looking(example, sigma=2.0, draws=2), noise_seed=seed))) for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.01
    assert (first[0] - first[1]).abs().mean() > 0.01, "two draws"


def test_components_are_those_of_the_jacobian(comfy: Client, example: dict, pack: Path):
    """Two standard deviations either way; far enough from black and white, as a picture shows it, half of that."""
    rows = images(comfy.run(looking(example, save=COMPONENTS, sigma=1.0, draws=2, components=2, lanczos_steps=16)))
    assert rows.shape == (2, 32, 96)
    mean, covariance = posterior(pack, 1.0)
    values, vectors = torch.linalg.eigh(covariance)
    low, middle, high = rows[0].split(32, dim=1)
    expected = ((mean + 2 * values[-1].sqrt() * torch.stack([-vectors[:, -1], vectors[:, -1]]) + 1) / 2).clamp(0, 1)
    assert (middle.flatten() - ((mean + 1) / 2).clamp(0, 1)).abs().max() <= 2 / 255
    came, wanted = (high - low).flatten(), expected[1] - expected[0]
    assert wanted.norm() > 1, "or there is nothing to compare"
    # The sign of a component is chance.
    assert (torch.dot(came, wanted) / came.norm() / wanted.norm()).abs() > 0.9
    assert came.norm() == pytest.approx(wanted.norm().item(), rel=0.25)
    assert (rows[1, :, 64:] - rows[1, :, :32]).norm() < came.norm(), "the leading one first"


def test_less_noise_leaves_less_undecided(comfy: Client, example: dict):
    """Of a finished picture."""
    spread = {}
    for sigma in (0.1, 1.0):
        graph = looking(example, sigma=sigma, draws=4)
        graph |= {number: example[number] for number in (SAMPLER, SIGMAS, SAMPLING)}
        graph[COVARIANCE]["inputs"]["latent_image"] = [SAMPLING, 0]
        spread[sigma] = images(comfy.run(graph)).std(dim=0).square().mean().sqrt()
    assert 0 < spread[0.1] < 0.5 * spread[1.0]


def test_what_a_mask_protects_does_not_vary(comfy: Client, example: dict):
    graph = with_node(looking(example, sigma=2.0, draws=4), "30", "SolidMask", value=1.0, width=32, height=16)
    graph = with_node(graph, "31", "SolidMask", value=0.0, width=32, height=32)
    graph = with_node(graph, "32", "MaskComposite", destination=["31", 0], source=["30", 0], x=0, y=0, operation="add")
    graph = with_node(graph, "33", "SetLatentNoiseMask", samples=[MODEL, 4], mask=["32", 0])
    graph[COVARIANCE]["inputs"]["latent_image"] = ["33", 0]
    deviation = images(comfy.run(graph)).std(dim=0)
    assert deviation[:16].max() > 0.1
    assert deviation[17:].max() <= 1 / 255


def test_a_noise_level_above_a_flow_models_is_refused(comfy: Client, example: dict):
    graph = with_node(looking(example, sigma=1.5), "30", "ModelSamplingSD3", model=[MODEL, 0], shift=1.0)
    graph[GUIDER]["inputs"]["model"] = ["30", 0]
    run = comfy.run(graph)
    assert run.outcome == "execution_error"
    assert "at most 1 for a flow" in run.details["exception_message"]


def test_a_latent_of_video_and_sound_is_refused(comfy: Client, example: dict):
    if not comfy.get_json("/object_info/LTXVConcatAVLatent"):
        pytest.skip("this ComfyUI has no latent of video and sound: set COMFYUI_PATH to one that has, as 0.29.0")
    both = {"video_latent": [MODEL, 4], "audio_latent": [MODEL, 4]}
    graph = with_node(looking(example), "30", "LTXVConcatAVLatent", **both)
    graph[COVARIANCE]["inputs"]["latent_image"] = ["30", 0]
    run = comfy.run(graph)
    assert run.outcome == "execution_error"
    assert "expected one picture or video, got several things" in run.details["exception_message"]
    images(comfy.run(looking(example, draws=2)))
