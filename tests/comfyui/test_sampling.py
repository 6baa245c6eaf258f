"""LGS Sampler in ComfyUI: pictures, seeds, options, progress and preview."""

from pathlib import Path

import pytest
import torch

import lgs

from .client import Client, Run, pixels
from .graphs import (
    DECODE,
    GUIDER,
    MODEL,
    SAMPLER,
    SAMPLING,
    SIGMAS,
    assert_read,
    digit_mean,
    digit_mean_as_flow,
    draw,
    karras_sigmas,
    with_inputs,
    with_node,
)
from .test_demo_model import ROUNDING

DIGITS = "0123456789"


def check_pictures(run: Run) -> None:
    """Ten pictures of white strokes on black."""
    assert run.outcome == "execution_success", run.details
    assert run.images.shape == (10, 32, 32)
    assert (run.images.flatten(1).amax(dim=1) > 200).all(), "no strokes"
    assert (run.images.flatten(1).median(dim=1).values < 30).all(), "no dark ground"


def test_shipped_example_draws_the_digits(comfy: Client, example: dict):
    run = comfy.run(example)
    check_pictures(run)
    assert_read(run.images, DIGITS)


def test_progress_and_preview_at_every_step(comfy: Client, example: dict):
    run = comfy.run(example)
    assert [(message["value"], message["max"]) for message in run.steps] == [(n, 10) for n in range(1, 11)]
    assert {message["node"] for message in run.progress} == {SAMPLING}
    assert len(run.previews) == 10
    # The last preview is the first picture, enlarged and as JPEG: the posterior mean of the last step.
    last = pixels(run.previews[-1].resize((32, 32), resample=4))
    assert (last - run.images[0]).abs().mean() < 8


def test_progress_with_each_model_evaluation(comfy: Client, example: dict):
    """Enough pictures at once that evaluations take longer than ComfyUI lets pass between two messages."""
    run = comfy.run(with_inputs(example, digits="0123456789" * 6, steps=3, jvp="finite-difference"))
    values = [message["value"] for message in run.progress]
    assert {message["max"] for message in run.progress} == {3}
    assert values == sorted(values) and len(set(values)) == len(values), "forwards only"
    # A step has four evaluations, the last one of the run one. Its step's end tells the last of each.
    quarters = {0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 3}
    assert set(values) <= quarters
    assert len(values) > len(run.steps) == 3 == len(run.previews)


def test_seed_decides_the_pictures(comfy: Client, example: dict):
    runs = [comfy.run(with_inputs(example, noise_seed=seed)) for seed in (3, 4, 3)]
    assert all(len(run.steps) == 10 for run in runs), "not sampled anew"
    assert torch.equal(runs[0].images, runs[2].images)
    assert (runs[0].images - runs[1].images).abs().mean() > 5


def test_largest_seed(comfy: Client, example: dict):
    check_pictures(comfy.run(with_inputs(example, noise_seed=2**64 - 1)))


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize(("eta", "s_noise"), [(1.0, 1.0), (0.5, 0.8), (0.0, 1.0)])
def test_isotropic_is_the_formula(
    comfy: Client, example: dict, pack: Path, guidance: float, eta: float, s_noise: float
):
    graph = with_inputs(example, covariance="isotropic", cfg=guidance, eta=eta, s_noise=s_noise, noise_seed=7)
    expected = draw(digit_mean(pack, DIGITS, guidance), karras_sigmas(10), 10, seed=7, eta=eta, s_noise=s_noise)
    assert (comfy.run(graph).images - expected).abs().max() <= ROUNDING


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_multisteps_alone_are_comfyuis_own_dpm_solver(comfy: Client, example: dict, guidance: float):
    graph = with_inputs(example, cfg=guidance, noise_seed=7)
    own = comfy.run(with_inputs(graph, eta=0.0, covariance_min_sigma=10000.0, other_steps="multistep"))
    theirs = comfy.run(with_node(graph, SAMPLER, "KSamplerSelect", sampler_name="dpmpp_2m"))
    first_order = comfy.run(with_inputs(graph, eta=0.0, covariance_min_sigma=10000.0))
    check_pictures(own)
    assert (own.images - theirs.images).abs().max() <= ROUNDING
    assert (own.images - first_order.images).abs().max() > 10 * ROUNDING


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_both_jacobian_products_draw_the_same(comfy: Client, example: dict, guidance: float):
    graph = with_inputs(example, cfg=guidance)
    forward, difference, isotropic = (
        comfy.run(graph)
        for graph in (
            with_inputs(graph, jvp="forward"),
            with_inputs(graph, jvp="finite-difference"),
            with_inputs(graph, covariance="isotropic"),
        )
    )
    for run in (forward, difference):
        check_pictures(run)
    apart = (forward.images - difference.images).abs().mean()
    from_isotropic = (forward.images - isotropic.images).abs().mean()
    assert apart < 0.25 * from_isotropic, (apart, from_isotropic)


def test_the_secant_is_told_that_there_is_no_picture_beneath_the_noise(comfy: Client, example: dict, pack: Path):
    """From an empty latent, and where a run goes on half way: not twice."""
    graph = with_inputs(example, covariance="secant", eta=0.0, noise_seed=7)
    x = torch.randn((10, 1, 32, 32), generator=torch.Generator().manual_seed(7)) * 20
    denoise, sigmas = digit_mean(pack, DIGITS), karras_sigmas(10)

    def drawn(pure_noise: bool, x: torch.Tensor = x, sigmas: torch.Tensor = sigmas) -> torch.Tensor:
        return lgs.sample(denoise, x, sigmas, lgs.Options(solver="secant", pure_noise=pure_noise))

    def grey(x: torch.Tensor) -> torch.Tensor:
        return ((x[:, 0] + 1) / 2).clamp(0, 1) * 255

    images = comfy.run(graph).images
    assert (images - grey(drawn(True))).abs().max() <= ROUNDING
    assert (images - grey(drawn(False))).abs().max() > 100, "it would make no difference"

    graph = with_node(graph, "20", "SplitSigmas", sigmas=[SIGMAS, 0], step=5)
    graph[SAMPLING]["inputs"]["sigmas"] = ["20", 0]
    graph = with_node(graph, "21", "DisableNoise")
    later = graph[SAMPLING]["inputs"] | {"noise": ["21", 0], "sigmas": ["20", 1], "latent_image": [SAMPLING, 0]}
    graph = with_node(graph, "22", "SamplerCustomAdvanced", **later)
    graph[DECODE]["inputs"]["samples"] = ["22", 0]
    half = drawn(True, sigmas=sigmas[:6])
    assert (comfy.run(graph).images - grey(drawn(False, half, sigmas[5:]))).abs().max() <= ROUNDING


def test_a_doubled_batch_draws_the_same_digits(comfy: Client, example: dict):
    """Ten items with a conditioning each, guided: in a doubled batch each has to meet its own."""
    graph = with_inputs(example, jvp="finite-difference", lanczos_steps=1, cfg=2.0)
    doubled, separate = (comfy.run(with_inputs(graph, doubled_batch=choice)) for choice in ("always", "never"))
    for run in (doubled, separate):
        check_pictures(run)
    assert (doubled.images - separate.images).abs().max() <= 3, "grey levels, of 255"


def test_a_graph_that_was_saved_before_an_input_came_still_runs(comfy: Client, example: dict):
    sampler = example[SAMPLER]["inputs"]
    older = with_node(example, SAMPLER, "LGSSampler", **{name: sampler[name] for name in ("covariance", "eta")})
    check_pictures(comfy.run(older))


def test_one_step(comfy: Client, example: dict):
    """Two sigmas, the last one 0: the posterior mean."""
    run = comfy.run(with_inputs(example, steps=1))
    assert run.outcome == "execution_success", run.details
    assert len(run.steps) == 1


def test_no_step(comfy: Client, example: dict):
    """One sigma: nothing to do, as for the built-in samplers; ComfyUI's noisy latent comes back."""
    graph = with_node(example, "20", "SplitSigmas", sigmas=[SIGMAS, 0], step=10)
    graph[SAMPLING]["inputs"]["sigmas"] = ["20", 1]
    run = comfy.run(graph)
    assert run.outcome == "execution_success", run.details
    assert run.progress == []


def as_flow_model(graph: dict, **inputs: object) -> dict:
    """The graph with the digit model treated as a flow model: no digits then, but ComfyUI's flow convention."""
    graph = with_node(with_inputs(graph, **inputs), "20", "ModelSamplingSD3", model=[MODEL, 0], shift=1.0)
    graph = with_node(graph, SIGMAS, "BasicScheduler", model=["20", 0], scheduler="simple", steps=4, denoise=1.0)
    graph[GUIDER]["inputs"]["model"] = ["20", 0]
    return graph


@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_isotropic_is_the_formula_for_a_flow_model(comfy: Client, example: dict, pack: Path, eta: float):
    run = comfy.run(as_flow_model(example, covariance="isotropic", eta=eta, noise_seed=7))
    sigmas = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    expected = draw(digit_mean_as_flow(pack, DIGITS), sigmas, 10, seed=7, flow=True, eta=eta)
    assert expected.std() > 10, "nothing to compare"
    assert (run.images - expected).abs().max() <= ROUNDING


def test_lanczos_with_a_flow_model(comfy: Client, example: dict):
    run = comfy.run(as_flow_model(example))
    assert run.outcome == "execution_success", run.details
    assert len(run.steps) == 4
    assert (run.images.flatten(1).std(dim=1) > 1).all(), "blank, as NaN is saved"
