"""What people start from: pictures, masks, batches, their own noise and noise levels; on Stable Diffusion 1.5."""

import pytest
from torch import Tensor

from .loaded import SIZE, Loaded, image, picture, sd15_unet
from .server import ComfyServer
from .workflows import (
    SEED,
    Link,
    add,
    by_guider,
    check,
    distance,
    lgs_sampler,
    output,
    run,
    saved_latents,
    scheduled,
    side_by_side,
)

HALF = SIZE // 16
"""Columns of the latent that a mask leaves as they are: the left ones."""


def guider_of(graph: dict, parts: Loaded, model: Link | None = None) -> Link:
    texts = {"positive": parts.positive, "negative": parts.negative}
    return add(graph, "CFGGuider", model=model or parts.model, **texts, cfg=3.0)


def masked(graph: dict, feather: int = 0) -> Link:
    """A picture whose right half is to be painted anew."""
    nothing = add(graph, "SolidMask", value=0.0, width=SIZE, height=SIZE)
    half = add(graph, "SolidMask", value=1.0, width=SIZE // 2, height=SIZE)
    mask = add(graph, "MaskComposite", destination=nothing, source=half, x=SIZE // 2, y=0, operation="add")
    if feather:
        half = add(graph, "FeatherMask", mask=half, left=feather, top=0, right=0, bottom=0)
        mask = add(graph, "MaskComposite", destination=nothing, source=half, x=SIZE // 2, y=0, operation="add")
    return add(graph, "SetLatentNoiseMask", samples=picture(graph), mask=mask)


def sampled(server: ComfyServer, graph: dict) -> dict[str, Tensor]:
    latents = saved_latents(server, run(server, graph))
    check(latents)
    return latents


def sampled_and_picture(server: ComfyServer, graph: dict) -> tuple[dict[str, Tensor], Tensor]:
    """With what the picture is as a latent."""
    add(graph, "SaveLatent", samples=picture(graph), filename_prefix="picture")
    latents = saved_latents(server, run(server, graph))
    original = latents.pop("picture")
    check(latents)
    return latents, original


def inpainted(graph: dict, feather: int, *, differential: bool = False) -> None:
    parts = sd15_unet(graph)
    model = add(graph, "DifferentialDiffusion", model=parts.model) if differential else parts.model
    guider, sigmas = guider_of(graph, parts, model), scheduled(graph, model, denoise=0.8)
    side_by_side(graph, by_guider(guider, sigmas, masked(graph, feather)), by_guider(guider, sigmas, picture(graph)))


@pytest.mark.parametrize("feather", [0, 8], ids=["hard", "soft"])
def test_inpainting_leaves_the_rest_alone(server_with_models: ComfyServer, feather: int):
    graph = {}
    inpainted(graph, feather)
    latents, original = sampled_and_picture(server_with_models, graph)
    del latents["without"]
    for name, latent in latents.items():
        assert distance(latent[..., :HALF], original[..., :HALF]) < 1e-5, name
        assert distance(latent[..., HALF:], original[..., HALF:]) > 0.05, name


def test_differential_diffusion(server_with_models: ComfyServer):
    """It lets go of the mask in the last step. What a sampler leaves outside of it then shows; with covariance that
    says nothing here, where weights are random and no covariance is right."""
    graph = {}
    inpainted(graph, feather=8, differential=True)
    sampled(server_with_models, graph)


def test_a_picture_noised_in_part(server_with_models: ComfyServer):
    """The sigmas start below the largest: the less there are, the closer it stays to the picture."""
    graph = {}
    parts = sd15_unet(graph)
    guider = guider_of(graph, parts)
    sampling = [by_guider(guider, scheduled(graph, parts.model, denoise=part), picture(graph)) for part in (0.4, 0.8)]
    side_by_side(graph, *sampling)
    latents, original = sampled_and_picture(server_with_models, graph)
    assert distance(latents["euler"], original) < distance(latents["without"], original)


def test_a_batch(server_with_models: ComfyServer):
    graph = {}
    parts = sd15_unet(graph)
    side_by_side(graph, by_guider(guider_of(graph, parts), scheduled(graph, parts.model), image(graph, batch_size=2)))
    lgs = sampled(server_with_models, graph)["lgs"]
    assert lgs.shape == (2, 4, SIZE // 8, SIZE // 8)
    assert distance(lgs[0], lgs[1]) > 0.5


def test_seeds_of_a_batch(server_with_models: ComfyServer):
    """One seed for all: what they start from is alike, what is added on the way is not."""
    graph = {}
    parts = sd15_unet(graph)
    batch = image(graph, batch_size=2)
    one_seed = add(graph, "LatentBatchSeedBehavior", samples=batch, seed_behavior="fixed")
    guider, sigmas = guider_of(graph, parts), scheduled(graph, parts.model)
    side_by_side(graph, by_guider(guider, sigmas, one_seed), by_guider(guider, sigmas, batch))
    latents = sampled(server_with_models, graph)
    assert distance(latents["deterministic"][0], latents["deterministic"][1]) < 1e-3
    assert distance(latents["lgs"][0], latents["lgs"][1]) > 0.05


def test_noise_of_another_pack(server_with_models: ComfyServer):
    graph = {}
    parts = sd15_unet(graph)
    inputs = {"guider": guider_of(graph, parts), "sigmas": scheduled(graph, parts.model), "latent_image": parts.latent}

    def sampling(graph: dict, sampler: Link, seed: int) -> Link:
        noise = add(graph, "LGSTestNoise", seed=seed)
        return add(graph, "SamplerCustomAdvanced", noise=noise, sampler=sampler, **inputs)

    side_by_side(graph, sampling, by_guider(inputs["guider"], inputs["sigmas"], parts.latent))
    sampled(server_with_models, graph)


def test_one_sampler_goes_on_where_another_stopped(server_with_models: ComfyServer):
    """As with a refiner: the first two steps, noise and all, then the last without noise of its own."""
    graph = {}
    parts = sd15_unet(graph)
    guider, sigmas = guider_of(graph, parts), scheduled(graph, parts.model)
    split = add(graph, "SplitSigmas", sigmas=sigmas, step=2)
    whole, first = by_guider(guider, sigmas, parts.latent), by_guider(guider, split, parts.latent)

    def sampling(graph: dict, sampler: Link, seed: int) -> Link:
        last = {"noise": add(graph, "DisableNoise"), "sigmas": output(split, 1), "guider": guider}
        latent = first(graph, sampler, seed)
        return add(graph, "SamplerCustomAdvanced", latent_image=latent, sampler=sampler, **last)

    side_by_side(graph, sampling)
    add(graph, "SaveLatent", samples=whole(graph, lgs_sampler(graph), SEED), filename_prefix="whole")
    latents = saved_latents(server_with_models, run(server_with_models, graph))
    whole_way = latents.pop("whole")
    check(latents)
    assert distance(latents["lgs"], whole_way) < 1e-4
