"""A SAMPLER that begins with what a start knows of the data, and leaves the rest to another SAMPLER."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from comfy.samplers import CFGGuider, Sampler
from torch import Tensor

from .. import lgs
from ..lgs.starts import Start
from .digests import model_digest, prompt_digest
from .forward_process import forward_process, noise_scale

log = logging.getLogger("lgs")

SLACK = 1e-5
"""How far the level of the list may lie below the one that is asked for, relatively: float32."""


class StartedSampler(Sampler):
    """``inner``, on the noise levels from ``sigma_next`` down.

    What is above is one step at no evaluation: `lgs.starts.Start.begin` from the same noise where there is nothing but
    noise, `lgs.starts.Start.teleport` from the host's x where there is a picture beneath. ``inner`` is any SAMPLER; it
    gets the noise that, as the host scales it, is that x at its first level. ``sigma_next`` None: ``inner`` alone, and
    the log says why.
    """

    def __init__(self, inner: Sampler, start: Start, sigma_next: float | None):
        self.inner, self.start, self.sigma_next = inner, start, sigma_next

    @property
    def extra_options(self) -> dict:
        """Those of ``inner``: LGS Report finds its runs there."""
        return getattr(self.inner, "extra_options", {})

    def max_denoise(self, model_wrap: CFGGuider, sigmas: Tensor) -> bool:
        return self.inner.max_denoise(model_wrap, sigmas)

    def sample(
        self,
        model_wrap: CFGGuider,
        sigmas: Tensor,
        extra_args: dict,
        callback: Callable | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """As ComfyUI calls a SAMPLER: noise and latent (batch, d...), in the model's own space."""
        inner = (extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)
        if self.sigma_next is None:
            log.info(
                "LGS Start: the start is too far from this model at every noise level, as measured: it is not used."
            )
            return self.inner.sample(model_wrap, sigmas, *inner)
        skipped, begins = steps_above(sigmas, self.sigma_next), (float(sigmas[0]), self.sigma_next)
        if not skipped:
            log.info("LGS Start: sampling starts at sigma %.4g, and the start at %.4g: it is not used.", *begins)
            return self.inner.sample(model_wrap, sigmas, *inner)
        model_sampling = model_wrap.inner_model.model_sampling
        check_fits(self.start, model_wrap, noise)
        latent = torch.zeros_like(noise) if latent_image is None else latent_image
        rest = sigmas[skipped:]

        free = mask_at(rest, denoise_mask, noise, model_wrap, extra_args)
        scaled = self.inner.max_denoise(model_wrap, sigmas)
        if (free is None and not torch.count_nonzero(latent)) or (free is not None and scaled):
            x = begun(self.start, noise, float(rest[0]), model_sampling, latent, free)
        else:
            x = model_sampling.noise_scaling(sigmas[0], noise, latent, scaled)
            x = teleported(self.start, x, float(sigmas[0]), float(rest[0]), model_sampling, latent, free)
        if len(rest) == 1:
            return model_sampling.inverse_noise_scaling(rest[-1], x)

        # The host's scaling is affine in the noise, whatever the model: undone, it gives x again.
        scaled = self.inner.max_denoise(model_wrap, rest)
        of_latent = model_sampling.noise_scaling(rest[0], torch.zeros_like(x), latent, scaled)
        of_noise = model_sampling.noise_scaling(rest[0], torch.ones_like(x), torch.zeros_like(x), scaled)
        moved = (x - of_latent) / of_noise
        # What is known is noised again in each step, with the noise that it had.
        noise = moved if free is None else torch.lerp(noise, moved, free)
        later = None
        if callback is not None:
            later = lambda step, denoised, x, steps: callback(step + skipped, denoised, x, steps + skipped)  # noqa: E731
        return self.inner.sample(model_wrap, rest, extra_args, later, noise, latent_image, denoise_mask, disable_pbar)


def steps_above(sigmas: Tensor, sigma_next: float) -> int:
    """How many steps lie above ``sigma_next``: the number of the last level before the list first falls below it."""
    levels, above = sigmas.tolist(), 0
    while above + 1 < len(levels) and levels[above + 1] >= sigma_next * (1 - SLACK):
        above += 1
    return above


def mask_at(
    sigmas: Tensor, denoise_mask: Tensor | None, noise: Tensor, model_wrap: CFGGuider, extra_args: dict
) -> Tensor | None:
    """Where the picture may change at the first of ``sigmas``, from 0 to 1, like the noise; None: everywhere."""
    if denoise_mask is None:
        return None
    at_level = extra_args.get("model_options", {}).get("denoise_mask_function")  # of Differential Diffusion
    if at_level is not None:
        options = {"model": model_wrap, "sigmas": sigmas}
        denoise_mask = at_level(sigmas[0].expand(len(noise)), denoise_mask, extra_options=options)
    free = denoise_mask.to(noise).expand_as(noise)
    return None if bool((free == 1).all()) else free


def begun(
    start: Start, noise: Tensor, sigma: float, model_sampling: object, latent: Tensor, free: Tensor | None
) -> Tensor:
    """x at ``sigma`` from nothing but noise, given what of ``latent`` is known where ``free`` is 0. Not by way of the
    host's own x at the highest level, which is noise alone and lacks the mean of the pictures."""
    process = forward_process(model_sampling)
    level, size = of_unit_noise(sigma, model_sampling)
    items = [law.begin(noise[part], level, process) for law, part in laws(start, latent, free)]
    return size * torch.cat(items)


def teleported(
    start: Start,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    model_sampling: object,
    latent: Tensor,
    free: Tensor | None,
) -> Tensor:
    """x at ``sigma_next``, given what of ``latent`` is known where ``free`` is 0."""
    process = forward_process(model_sampling)
    (level, size), (level_next, size_next) = (of_unit_noise(s, model_sampling) for s in (sigma, sigma_next))
    items = [law.teleport(x[part] / size, level, level_next, process) for law, part in laws(start, latent, free)]
    return size_next * torch.cat(items)


def laws(start: Start, latent: Tensor, free: Tensor | None) -> list[tuple[Start, slice]]:
    """The law of each part of the batch: one for all, or behind a mask one for each item."""
    if free is None:
        return [(start, slice(None))]
    given = start.given(latent, (free > 0).to(latent.dtype))
    return [(law, slice(item, item + 1)) for item, law in enumerate(given)]


def of_unit_noise(sigma: float, model_sampling: object) -> tuple[float, float]:
    """A level of the host's as one whose noise is of size 1, and how much larger x is in the host. Both differ for a
    flow with noise of another size only: x = (1 - sigma) x_0 + sigma scale noise."""
    scale = noise_scale(model_sampling) if forward_process(model_sampling) == "flow" else 1.0
    if scale == 1:
        return sigma, 1.0
    size = 1 - sigma + scale * sigma
    return scale * sigma / size, size


def check_fits(start: Start, model_wrap: CFGGuider, noise: Tensor) -> None:
    """Raises `lgs.Error` for a start of another model, process or size; another prompt is warned of."""
    shape, fitted = noise.shape[1:], start.shape
    if shape != fitted:
        raise lgs.Error(
            f"start: this one was fitted to latents of {sized(fitted)}, and here they are of {sized(shape)}. Use a "
            "picture of that size, or fit a start for this one with Fit LGS Start."
        )
    about = start.about
    process = forward_process(model_wrap.inner_model.model_sampling)
    if about.get("process", process) != process:
        raise lgs.Error(
            f"start: this one was fitted to a model of the process {about['process']}, and this model's is {process}. "
            "Fit one to this model with Fit LGS Start."
        )
    patcher = getattr(model_wrap, "model_patcher", None)
    if patcher is not None and "model_digest" in about and (digest := model_digest(patcher)) != about["model_digest"]:
        raise lgs.Error(
            f"start: this one was fitted to another model (digest {about['model_digest']}) than this one ({digest}); "
            "the same checkpoint in another precision or with another LoRA is another one, too. Load that model, or "
            "fit a start to this one with Fit LGS Start."
        )
    if patcher is not None and "prompt_digest" in about and prompt_digest(model_wrap) != about["prompt_digest"]:
        log.warning(
            "LGS Start: this start was fitted, or its noise level found, with another prompt or cfg than is sampled "
            "with. The steps that follow can only partly mend what does not fit. Fit one for this prompt."
        )


def sized(shape: Sequence[int]) -> str:
    """As people write it: 4 x 64 x 64."""
    return " x ".join(map(str, shape))
