"""The guided model that ComfyUI gives a sampler, as `lgs.sample` takes one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from comfy.model_base import BaseModel
from comfy.model_management import throw_exception_if_processing_interrupted
from torch import Tensor

from .. import lgs
from .differentiable_kernels import differentiable_kernels
from .forward_process import forward_process


def refuse_reused_answers(extra_args: dict, node: str, remedy: str) -> None:
    """Raises `lgs.Error` for a model with EasyCache or LazyCache.

    They return the result of a nearby evaluation, shifted along with x. The evaluations of a Jacobian-vector
    product are nearer than any, and its result would be the vector itself.
    """
    transformer_options = extra_args.get("model_options", {}).get("transformer_options", {})
    if "easycache" in transformer_options:
        raise lgs.Error(
            f"{node}: expected the model itself to be evaluated, got one with EasyCache or LazyCache, which reuse the "
            f"result of a nearby evaluation, and all evaluations of a step are near each other. {remedy}"
        )


def denoiser(model: Callable[..., Tensor], extra_args: dict) -> Callable[[Tensor, Tensor], Tensor]:
    """The guided posterior mean of what ComfyUI gives a sampler, as `lgs.sample` calls it."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        # ComfyUI looks for the stop button once a step; a step here is several evaluations.
        throw_exception_if_processing_interrupted()
        with differentiable_kernels(x, extra_args) as arguments:
            return model(x, sigma, **arguments)

    return denoise


def model_of(model: Callable[..., Tensor]) -> object:
    """The object that `lgs.sample` caches its JVP method for: the part of a sampler's model that outlives the run."""
    return getattr(model.inner_model, "model_patcher", model.inner_model.inner_model)


def with_model(options: lgs.Options, model: BaseModel) -> lgs.Options:
    """The options that a user chose, with those that the model decides."""
    return options._with(
        process=forward_process(model.model_sampling),
        precision=precision(model),
    )


def precision(model: BaseModel) -> str:
    """What the model computes in, as ``lgs.Options`` names it: x stays float32 in ComfyUI whatever that is."""
    dtype = model.manual_cast_dtype or model.get_dtype()
    name = str(dtype).removeprefix("torch.")
    return name if name in ("float64", "float32", "bfloat16", "float16") else "auto"


def noise_sampler(x: Tensor, seed: int | None, scale: float = 1.0) -> Callable[[float, float], Tensor]:
    """What ``comfy.k_diffusion.sampling.default_noise_sampler`` of a current ComfyUI gives for a seed, times ``scale``,
    the model's own: see `forward_process.noise_scale`.

    Written out because ComfyUI 0.3.64's draws, on the CPU, the very noise that the picture starts
    from again for its first step (the same seed, the same generator): the noise after that step is
    then up to 1.4 times too strong. Later versions add 1 to the seed, as here.
    """
    generator = None
    if seed is not None:
        generator = torch.Generator(device=x.device)
        generator.manual_seed((seed + 1) % 2**64 if x.device.type == "cpu" else seed)

    def noise(sigma: float, sigma_next: float) -> Tensor:
        return torch.randn(x.size(), dtype=x.dtype, layout=x.layout, device=x.device, generator=generator).mul_(scale)

    return noise
