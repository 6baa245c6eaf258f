"""diffusers' pipelines with the scheduler put in by the one line, and with nothing else changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from torch import Tensor

import lgs
from lgs.diffusers import LGSScheduler
from own_threads import none_left

from . import tiny

EULER = {"solver": "ancestral", "covariance": "isotropic", "eta": 0.0, "other_steps": "isotropic"}
"""Options with which a step is DDIM's, which is Euler's in sigma: another implementation to compare with."""

PROMPT = {"prompt": "a cat", "negative_prompt": "a dog", "guidance_scale": 5.0}
SIZE = {"height": tiny.SIZE, "width": tiny.SIZE}
IMAGE, MASK = {"image": tiny.picture()}, {"mask_image": tiny.mask()}
POOLED = ("pooled_prompt_embeds", "negative_prompt_embeds", "negative_pooled_prompt_embeds")
EMBEDDED, FOR_FLUX = tiny.embeddings(*POOLED), tiny.embeddings("pooled_prompt_embeds")

Case = tuple[Callable[..., DiffusionPipeline], str, dict[str, Any], int]
SD, XL, SD3, FLUX = tiny.stable_diffusion, tiny.stable_diffusion_xl, tiny.stable_diffusion_3, tiny.flux
CASES: dict[str, Case] = {
    "SD 1.5": (SD, "StableDiffusion", PROMPT | SIZE, 8),
    "SD 1.5, embeddings": (SD, "StableDiffusion", SIZE | tiny.embeddings("negative_prompt_embeds"), 8),
    "SD 1.5, rescaled guidance": (SD, "StableDiffusion", PROMPT | SIZE | {"guidance_rescale": 0.7}, 8),
    "SD 1.5, three pictures": (SD, "StableDiffusion", PROMPT | SIZE | {"num_images_per_prompt": 3}, 8),
    "SD 1.5, generators": (SD, "StableDiffusion", SIZE | {"prompt": ["a cat", "a dog"], "generator": [1, 2]}, 8),
    "SD 1.5, own sigmas": (SD, "StableDiffusion", PROMPT | SIZE | {"sigmas": [14.0, 6.0, 2.0, 0.5, 0.0]}, 4),
    "SD 1.5, image to image": (SD, "StableDiffusionImg2Img", PROMPT | IMAGE | {"strength": 0.6}, 4),
    "SD 1.5, inpainting, all noise": (
        SD,
        "StableDiffusionInpaint",
        PROMPT | SIZE | IMAGE | MASK | {"strength": 1.0},
        8,
    ),
    "SD 1.5, inpainting": (SD, "StableDiffusionInpaint", PROMPT | SIZE | IMAGE | MASK | {"strength": 0.7}, 5),
    "SD 1.5, inpainting, 9 channels": (
        lambda kind: SD(kind, channels=9),
        "StableDiffusionInpaint",
        PROMPT | SIZE | IMAGE | MASK | {"strength": 1.0},
        8,
    ),
    "SD 1.5, ControlNet": (
        lambda kind: SD(kind, controlnet=tiny.controlnet()),
        "StableDiffusionControlNet",
        PROMPT | SIZE | IMAGE,
        8,
    ),
    "SDXL": (XL, "StableDiffusionXL", EMBEDDED | SIZE, 8),
    "SDXL, base": (XL, "StableDiffusionXL", EMBEDDED | SIZE | {"denoising_end": 0.7}, 5),
    "SDXL, image to image": (XL, "StableDiffusionXLImg2Img", EMBEDDED | IMAGE | {"strength": 0.5}, 4),
    "SDXL, inpainting": (XL, "StableDiffusionXLInpaint", EMBEDDED | SIZE | IMAGE | MASK | {"strength": 0.9}, 7),
    "SD3": (SD3, "StableDiffusion3", EMBEDDED | SIZE, 8),
    "SD3, image to image": (SD3, "StableDiffusion3Img2Img", EMBEDDED | SIZE | IMAGE | {"strength": 0.6}, 5),
    "SD3, inpainting": (SD3, "StableDiffusion3Inpaint", EMBEDDED | SIZE | IMAGE | MASK | {"strength": 0.6}, 5),
    "Flux": (FLUX, "Flux", FOR_FLUX | SIZE, 8),
    "Flux, image to image": (FLUX, "FluxImg2Img", FOR_FLUX | SIZE | IMAGE | {"strength": 0.6}, 5),
    "Flux, inpainting": (FLUX, "FluxInpaint", FOR_FLUX | SIZE | IMAGE | MASK | {"strength": 0.6}, 5),
}


def pipeline(name: str) -> DiffusionPipeline:
    make, kind, _, _ = CASES[name]
    return make(getattr(diffusers, f"{kind}Pipeline"))


def evaluations(pipe: DiffusionPipeline) -> list[int]:
    """Grows by one with each evaluation of the pipeline's model."""
    counted = []
    model = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet
    model.register_forward_hook(lambda *_: counted.append(1))
    return counted


def drawn(pipe: DiffusionPipeline, given: dict[str, Any], seed: int = 0, **more: Any) -> Tensor:
    """Latents."""
    call = {"num_inference_steps": 8, "output_type": "latent", "generator": seed} | given | more
    if "sigmas" in call:
        del call["num_inference_steps"]
    seeds = call.pop("generator")
    seeded = lambda seed: torch.Generator().manual_seed(seed)  # noqa: E731
    call["generator"] = [seeded(one) for one in seeds] if isinstance(seeds, list) else seeded(seeds)
    return pipe(**call).images


def far(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.fixture(params=CASES)
def case(request) -> str:
    return request.param


def test_with_ddims_steps_it_draws_what_diffusers_euler_draws(case: str):
    pipe, given = pipeline(case), CASES[case][2]
    if not hasattr(pipe, "transformer"):
        pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    expected = drawn(pipe, given)
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config, options=EULER)
    assert far(drawn(pipe, given), expected) < 1e-5
    none_left() if "denoising_end" not in given else pipe.scheduler.set_timesteps(2)


def test_by_its_defaults_it_takes_one_evaluation_a_step_and_a_seed_is_a_picture(case: str):
    pipe, (_, _, given, count) = pipeline(case), CASES[case]
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config)
    counted = evaluations(pipe)
    first = drawn(pipe, given)
    assert len(counted) == count and first.isfinite().all()
    assert torch.equal(drawn(pipe, given), first), "with the same scheduler once more"
    if "generator" not in given:
        assert far(drawn(pipe, given, seed=1), first) > 0.01


@pytest.mark.parametrize(
    "case", ["SD 1.5", "SD 1.5, image to image", "SD 1.5, inpainting", "SDXL", "SD3", "Flux"], indirect=True
)
def test_lanczos_takes_as_many_evaluations_as_steps(case: str):
    pipe, (_, _, given, count) = pipeline(case), CASES[case]
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config, options={"solver": "ancestral", "eta": 0.5})
    pipe.scheduler.record = record = lgs.Record()
    counted = evaluations(pipe)
    assert drawn(pipe, given).isfinite().all()
    assert len(counted) == sum(step.model_evaluations for step in record.steps) == count
    assert sum(step.jvps for step in record.steps) > 0


def test_stable_diffusion_draws_what_lgs_sample_draws():
    """From the pipeline's own noise, through its network, with guidance as it is defined."""
    pipe = pipeline("SD 1.5")
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config)
    came = drawn(pipe, PROMPT | SIZE, num_inference_steps=12)
    schedule = pipe.scheduler
    prompt, negative = pipe.encode_prompt("a cat", "cpu", 1, True, "a dog")
    timesteps = dict(zip(schedule.sigmas.tolist(), schedule.timesteps, strict=False))

    @torch.no_grad()
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = float(sigma[0])
        both = torch.cat([x, x]) / (level**2 + 1) ** 0.5
        without, noise = pipe.unet(both, timesteps[level], torch.cat([negative, prompt])).sample.chunk(2)
        return x - level * (without + 5.0 * (noise - without))

    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * schedule.init_noise_sigma
    expected = lgs.sample(denoise, x, schedule.sigmas, lgs.Options.recommended(pure_noise=True))
    assert far(came, expected) < 1e-5


def test_stable_diffusion_3_draws_what_lgs_sample_draws():
    pipe = pipeline("SD3")
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config)
    came = drawn(pipe, EMBEDDED | SIZE, num_inference_steps=12, guidance_scale=4.0)
    schedule = pipe.scheduler
    text = torch.cat([EMBEDDED["negative_prompt_embeds"], EMBEDDED["prompt_embeds"]])
    pooled = torch.cat([EMBEDDED["negative_pooled_prompt_embeds"], EMBEDDED["pooled_prompt_embeds"]])

    @torch.no_grad()
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = float(sigma[0])
        times = torch.full((2,), level * 1000)
        answers = pipe.transformer(torch.cat([x, x]), text, pooled, times, return_dict=False)[0].chunk(2)
        return x - level * (answers[0] + 4.0 * (answers[1] - answers[0]))

    x = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = lgs.sample(denoise, x, schedule.sigmas, lgs.Options.recommended(pure_noise=True, process="flow"))
    assert far(came, expected) < 1e-5


@pytest.mark.parametrize("in_place", [False, True])
def test_what_a_callback_makes_of_the_latents_counts(in_place: bool):
    def callback(pipe, step, timestep, given):
        latents = given["latents"]
        changed = latents.mul_(0.9) if in_place else latents * 0.9
        return {"latents": changed if step in (2, 5) else latents}

    pipe = pipeline("SD 1.5")
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    expected = drawn(pipe, PROMPT | SIZE, callback_on_step_end=callback)
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config, options=EULER)
    assert far(drawn(pipe, PROMPT | SIZE, callback_on_step_end=callback), expected) < 1e-5
    assert far(drawn(pipe, PROMPT | SIZE), expected) > 0.01


def test_after_an_interrupted_run_and_after_an_error_the_next_is_as_ever():
    pipe = pipeline("SD 1.5")
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config)
    expected = drawn(pipe, PROMPT | SIZE)

    def interrupt(pipe, step, timestep, given):
        pipe._interrupt = step >= 3
        return given

    drawn(pipe, PROMPT | SIZE, callback_on_step_end=interrupt)
    assert pipe.scheduler.step_index == 4
    assert torch.equal(drawn(pipe, PROMPT | SIZE), expected)

    def fail(pipe, step, timestep, given):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drawn(pipe, PROMPT | SIZE, callback_on_step_end=fail)
    assert torch.equal(drawn(pipe, PROMPT | SIZE), expected)

    class Broken(Exception):
        pass

    def broken(*_):
        if len(counted) == 5:
            raise Broken

    counted = evaluations(pipe)
    hook = pipe.unet.register_forward_hook(broken)
    with pytest.raises(Broken):
        drawn(pipe, PROMPT | SIZE)
    hook.remove()
    assert torch.equal(drawn(pipe, PROMPT | SIZE), expected)
    none_left()


@pytest.mark.parametrize("case", ["SD 1.5", "SD3"], indirect=True)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pipelines_in_half_precision(case: str, dtype: torch.dtype):
    pipe, given = pipeline(case), CASES[case][2]
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config)
    channels = 16 if case == "SD3" else 4
    latents = torch.randn(1, channels, 16, 16, generator=torch.Generator().manual_seed(4)).to(dtype)
    exact = drawn(pipe, given, latents=latents.float())
    half = {key: value.to(dtype) if isinstance(value, Tensor) else value for key, value in given.items()}
    came = drawn(pipe.to(dtype), half, latents=latents)
    assert came.dtype == dtype and far(came.float(), exact) < 16 * torch.finfo(dtype).eps


def test_in_inference_mode():
    pipe = pipeline("SD 1.5, inpainting")
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config)
    given = CASES["SD 1.5, inpainting"][2]
    expected = drawn(pipe, given)
    with torch.inference_mode():
        assert torch.equal(drawn(pipe, given), expected)


def test_it_is_saved_with_the_pipeline_and_loaded_by_all_kinds(tmp_path):
    pipe = pipeline("SD 1.5")
    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config, options={"eta": 0.25})
    expected = drawn(pipe, PROMPT | SIZE)
    pipe.save_pretrained(tmp_path)
    for kind in (StableDiffusionPipeline, DiffusionPipeline, AutoPipelineForText2Image):
        loaded = kind.from_pretrained(tmp_path)
        loaded.set_progress_bar_config(disable=True)
        assert isinstance(loaded.scheduler, LGSScheduler) and loaded.scheduler.config.options == {"eta": 0.25}
        assert torch.equal(drawn(loaded, PROMPT | SIZE), expected)
    for kind, given in ((AutoPipelineForImage2Image, IMAGE), (AutoPipelineForInpainting, IMAGE | MASK | SIZE)):
        other = kind.from_pipe(pipe)
        assert other.scheduler is pipe.scheduler
        assert drawn(other, PROMPT | given | {"strength": 0.5}).isfinite().all()
    assert torch.equal(drawn(pipe, PROMPT | SIZE), expected)


@pytest.mark.parametrize("kind", [StableDiffusionPipeline, StableDiffusion3Pipeline])
def test_other_schedulers_take_its_place_again(kind: type):
    pipe = pipeline("SD 1.5" if kind is StableDiffusionPipeline else "SD3")
    given = PROMPT | SIZE if kind is StableDiffusionPipeline else EMBEDDED | SIZE
    expected, own = drawn(pipe, given), pipe.scheduler
    pipe.scheduler = LGSScheduler.from_config(own.config)
    pipe.scheduler = type(own).from_config(pipe.scheduler.config)
    assert torch.equal(drawn(pipe, given), expected)
