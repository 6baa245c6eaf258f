"""LGS Covariance: what a picture could still become at a noise level, drawn from the posterior covariance."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from comfy.model_management import intermediate_device
from comfy.sample import fix_empty_latent_channels
from comfy.samplers import KSAMPLER, CFGGuider
from comfy.sd import VAE
from comfy_api.latest import io
from torch import Tensor
from tqdm.auto import tqdm

from .. import lgs
from ..host.forward_process import noise_scale
from ..host.guided_model import denoiser, model_of, noise_sampler, refuse_reused_answers, with_model
from .colour_map import colours
from .progress import EvaluationBar
from .schema import node_schema

PARTS = (-2.0, 0.0, 2.0)
"""Standard deviations from the mean at which a component is shown."""

PRODUCTS = 4
"""Jacobian-vector products for each component, at least: the leading ones are right with a few times as many."""


class LGSCovariance(io.ComfyNode):
    """The node. It samples no picture: it evaluates the model once at the noisy latent, and for products around it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema("LGSCovariance", beside="SamplerCustomAdvanced")

    @classmethod
    def execute(
        cls,
        guider: CFGGuider,
        noise,
        latent_image: dict,
        vae: VAE,
        sigma: float = 0.5,
        draws: int = 16,
        lanczos_steps: int = 8,
        components: int = 3,
    ) -> io.NodeOutput:
        if latent_image["samples"].is_nested:
            raise ValueError(
                "latent: expected one picture or video, got several things in one latent (video with sound). Give it "
                "the video's own."
            )
        # An empty latent has the channels of Stable Diffusion, whatever the model.
        latent = fix_empty_latent_channels(guider.model_patcher, latent_image["samples"])
        latent_image = latent_image | {"samples": latent}
        kept: dict[str, list[Tensor]] = {"mean": [], "drawn": [], "components": []}
        asked = {"draws": draws, "lanczos_steps": lanczos_steps, "components": components, "kept": kept}
        guider.sample(
            noise.generate_noise(latent_image),
            latent,
            KSAMPLER(sample_posterior, extra_options=asked),
            torch.tensor([sigma, 0.0]),
            denoise_mask=latent_image.get("noise_mask"),
            seed=noise.seed,
        )

        def images(samples: Tensor) -> Tensor:
            return as_images(vae, guider.model_patcher.model.process_latent_out(samples.float()))

        [mean] = kept["mean"]
        drawn = [images(samples) for samples in kept["drawn"]]
        rows = [torch.cat([images(mean + part * u) for part in PARTS], dim=2) for u in kept["components"]]
        deviation = torch.stack(drawn).var(dim=0).mean(dim=-1).sqrt()
        # Single pixels must not darken all others.
        brightest = deviation.flatten().kthvalue(math.ceil(0.995 * deviation.numel())).values.clamp(min=1e-12)
        text = (
            f"Standard deviation at sigma {sigma:g}, of 1 for the whole range from black to white: "
            f"{deviation.square().mean().sqrt():.3g} over all pixels, {brightest:.3g} and above in yellow."
        )
        return io.NodeOutput(colours(deviation / brightest), torch.cat(rows), images(mean), torch.cat(drawn), text)


@torch.no_grad()
def sample_posterior(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict | None = None,
    callback: Callable[[dict], None] | None = None,
    disable: bool | None = None,
    *,
    draws: int,
    lanczos_steps: int,
    components: int,
    kept: dict[str, list[Tensor]],
) -> Tensor:
    """The posterior mean of x_0 given x at ``sigmas[0]``, by a function that ComfyUI can call as a sampler.

    ``kept`` gets it, and ``draws`` draws from N(mean, Cov[x_0 | x]), and the leading ``components`` of
    the covariance, each as long as its standard deviation; all like x.
    """
    extra_args = {} if extra_args is None else extra_args
    refuse_reused_answers(extra_args, "LGS Covariance", "Take the model from before that node.")
    base_model = model.inner_model.inner_model
    batch, posterior_mean, sigma = len(x), denoiser(model, extra_args), float(sigmas[0])
    scale, draw_noise = noise_scale(base_model.model_sampling), noise_sampler(x, extra_args.get("seed"))
    # Where a mask lets nothing change, x_0 is known: J is 0 there, and all of the noise the error of a few
    # Lanczos steps.
    mask = extra_args.get("denoise_mask")
    undecided = 1.0 if mask is None else (mask > 0).to(x.dtype)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = posterior_mean(x, sigma)
        bar.evaluated(len(x) // batch)
        return denoised

    products = max(lanczos_steps, PRODUCTS * components)
    options = with_model(lgs.Options(lanczos_steps=products), base_model)
    z = draw_noise(sigma, 0.0) * undecided
    expected = [1 + products] + [1 + lanczos_steps] * draws
    with tqdm(total=sum(expected), unit="evaluation", disable=disable) as console:
        bar = EvaluationBar(expected, console)
        mean, variances, directions = lgs.principal_components(denoise, x, sigma, z, options, model=model_of(model))
        kept["mean"].append(mean)
        for k in range(components):
            length = scale * variances[:, k].sqrt()
            kept["components"].append(length.reshape(-1, *[1] * (x.ndim - 1)) * directions[:, k])
        bar.part_done()

        options = options._with(lanczos_steps=lanczos_steps)
        for _ in range(draws):
            # A step to sigma 0 without the mean: the square root of the posterior covariance of x_0 itself.
            z = draw_noise(sigma, 0.0) * undecided
            noise = lgs.reverse_noise(denoise, x, sigma, 0.0, z, options, model=model_of(model))
            kept["drawn"].append(mean + scale * noise)
            bar.part_done()
    return mean


def as_images(vae: VAE, samples: Tensor) -> Tensor:
    """(images, height, width, channels); the frames of videos one after the other."""
    images = vae.decode(samples).to(intermediate_device(), torch.float32)
    return images.reshape(-1, *images.shape[-3:])
