"""What a graph's latents have to be: `lgs.sample` with diffusers' networks, guided here, and nothing of InvokeAI's.

Run as a program it is that other process, with InvokeAI's interpreter: for each line with a case it writes the latents
to a file, and an empty line.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor


class Reference:
    """The other process; ``with`` ends it."""

    def __init__(self, python: str, pack: Path, folders: dict[str, Path]):
        self._command, self._pack, self._folders = [python, str(Path(__file__))], pack, folders

    def __enter__(self) -> Reference:
        from .server import environment_of_its_own

        environment = environment_of_its_own() | {"PYTHONPATH": str(self._pack)}
        self._process = subprocess.Popen(
            self._command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_exception) -> None:
        self._process.communicate()

    def latents(self, model: str, file: Path, **case) -> Tensor:
        """Those of a case, see `sampled`, which ``file`` is for."""
        print(json.dumps(case | {"folder": str(self._folders[model]), "file": str(file)}), file=self._process.stdin)
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "\n", "the process has ended; what it said is above"
        return torch.load(file, weights_only=True)


@functools.cache
def network(folder: str) -> torch.nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(folder, subfolder="unet").eval()


@torch.no_grad()
def sampled(
    folder: str,
    options: dict,
    noise: str,
    seed: int,
    positive: str,
    negative: str,
    steps: int,
    cfg_scale: float | list[float],
    karras: bool = False,
    latents: str | None = None,
    mask: str | None = None,
    soft: bool = False,
    start: float = 0.0,
    end: float = 1.0,
) -> Tensor:
    """The latents. ``noise``, ``latents``, ``positive``, ``negative`` and ``mask`` are files that InvokeAI has made."""
    from diffusers import EulerDiscreteScheduler

    import lgs

    scheduler = EulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler", use_karras_sigmas=karras)
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.tolist()
    first = sum(t >= round(1000 * (1 - start)) for t in times)
    last = sum(t >= round(1000 * (1 - end)) for t in times)
    sigmas = scheduler.sigmas[first : last + 1]
    noise = torch.load(noise, weights_only=True)
    picture = torch.zeros_like(noise) if latents is None else torch.load(latents, weights_only=True)
    guided = guided_noise(network(folder), load(positive), load(negative))
    free = free_at(mask, soft, picture)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        step = int((scheduler.sigmas - sigma[0]).abs().argmin())
        at, t = scheduler.sigmas[step], times[step]
        x = torch.lerp(picture + at * noise, x, free(t))
        scale = cfg_scale[min(step, last - 1) - first] if isinstance(cfg_scale, list) else cfg_scale
        return torch.lerp(picture, x - at * guided(x / (at**2 + 1).sqrt(), t, scale), free(t))

    generator = torch.Generator().manual_seed(seed ^ 0xFFFFFFFF)
    samples = lgs.sample(
        denoise,
        picture + sigmas[0] * noise,
        sigmas,
        {**options, "doubled_batch": "never", "pure_noise": latents is None},
        noise=lambda *_: torch.randn(noise.shape, generator=generator),
    )
    return torch.lerp(picture, samples, free(0) if not soft else (free(0) > 0).float())


@torch.no_grad()
def sampled_flux(
    folder: str,
    options: dict,
    noise: str,
    seed: int,
    positive: str,
    steps: int,
    size: int,
    negative: str | None = None,
    cfg_scale: float = 1.0,
    end: float = 1.0,
) -> Tensor:
    """The latents of Flux, in the file ``folder``: in bfloat16, as InvokeAI has it, and LGS in float32."""
    from invokeai.backend.flux.sampling_utils import clip_timestep_schedule_fractional, get_schedule

    import lgs

    network = flux_network(folder)
    sigmas = clip_timestep_schedule_fractional(get_schedule(steps, (size // 16) ** 2), 0.0, end)
    noise = torch.load(noise, weights_only=True).bfloat16()
    tokens = size // 16
    along = torch.arange(tokens, dtype=torch.bfloat16)
    places = torch.cartesian_prod(along[:1], along, along)[None]

    def velocity(x: Tensor, sigma: float, prompt: object) -> Tensor:
        # A token is a square of two by two.
        squares = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        words = prompt.t5_embeds.bfloat16()
        predicted = network(
            img=squares.bfloat16(),
            img_ids=places,
            txt=words,
            txt_ids=torch.zeros(1, words.shape[1], 3, dtype=torch.bfloat16),
            y=prompt.clip_embeds.bfloat16(),
            timesteps=torch.full((1,), sigma, dtype=torch.bfloat16),
            guidance=torch.full((1,), 4.0, dtype=torch.bfloat16),
            timestep_index=0,
            total_num_timesteps=1,
            controlnet_double_block_residuals=None,
            controlnet_single_block_residuals=None,
            ip_adapter_extensions=[],
            regional_prompting_extension=regional(prompt, tokens**2),
        )
        grid = predicted.unflatten(2, (16, 2, 2)).unflatten(1, (tokens, tokens)).permute(0, 3, 1, 4, 2, 5)
        return grid.flatten(4).flatten(2, 3)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = min(sigmas, key=lambda level: abs(level - float(sigma[0])))
        x = x.bfloat16()
        found = velocity(x, level, load(positive))
        if negative is not None:
            without = velocity(x, level, load(negative))
            found = without + cfg_scale * (found - without)
        return x.float() - level * found.float()

    generator = torch.Generator().manual_seed(seed ^ 0xFFFFFFFF)
    return (
        lgs.sample(
            denoise,
            noise.float(),
            sigmas,
            {**options, "process": "flow", "pure_noise": True, "precision": "bfloat16"},
            noise=lambda *_: torch.randn(noise.shape, generator=generator),
        )
        .bfloat16()
        .float()
    )


@functools.cache
def flux_network(file: str) -> torch.nn.Module:
    import tiny_flux
    from invokeai.backend.flux.model import Flux
    from invokeai.backend.model_manager.taxonomy import FluxVariantType
    from safetensors.torch import load_file

    network = Flux(tiny_flux.PARAMS[FluxVariantType.Dev])
    network.load_state_dict(load_file(file))
    return network.bfloat16().eval()


def regional(prompt: object, tokens: int) -> object:
    """A prompt for the whole picture, as InvokeAI's network wants it."""
    from invokeai.backend.flux.extensions.regional_prompting_extension import RegionalPromptingExtension
    from invokeai.backend.flux.text_conditioning import FluxTextConditioning

    text = FluxTextConditioning(prompt.t5_embeds.bfloat16(), prompt.clip_embeds.bfloat16(), None)
    return RegionalPromptingExtension.from_text_conditioning([text], [], tokens)


def load(file: str) -> object:
    """The conditioning of a prompt."""
    from invokeai.backend.stable_diffusion.diffusion import conditioning_data  # noqa: F401

    [conditioning] = torch.load(file, weights_only=False).conditionings
    return conditioning


def guided_noise(unet: torch.nn.Module, positive: object, negative: object) -> Callable[[Tensor, float, float], Tensor]:
    """What the network takes for the noise, guided, of its input at a time."""
    prompts = negative, positive
    added = None
    if hasattr(positive, "pooled_embeds"):
        added = {
            "text_embeds": torch.cat([prompt.pooled_embeds for prompt in prompts]),
            "time_ids": torch.cat([prompt.add_time_ids for prompt in prompts]),
        }
    embeds = torch.cat([prompt.embeds for prompt in prompts])

    def guided(x: Tensor, t: float, scale: float) -> Tensor:
        # Both at once, as InvokeAI does: a difference quotient shows otherwise how a batch is rounded.
        without, given = unet(torch.cat([x, x]), t, embeds, added_cond_kwargs=added).sample.chunk(2)
        return without + (given - without) * scale

    return guided


def free_at(mask: str | None, soft: bool, picture: Tensor) -> Callable[[float], Tensor]:
    """Where the picture may change, from 0 to 1, at a time: with a soft mask ever more of it, the darkest first."""
    if mask is None:
        return lambda t: torch.ones_like(picture)
    kept = torch.load(mask, weights_only=True).float()
    free = 1 - torch.nn.functional.interpolate(kept, picture.shape[-2:], mode="bilinear")
    return lambda t: ((free > t / 1000).float() if soft else free).expand_as(picture)


if __name__ == "__main__":
    for line in sys.stdin:
        case = json.loads(line)
        file, sample = case.pop("file"), sampled_flux if "size" in case else sampled
        torch.save(sample(**case), file)
        print(flush=True)
