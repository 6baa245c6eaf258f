"""LGS Sampler: a SAMPLER for SamplerCustom and SamplerCustomAdvanced."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from comfy.model_base import BaseModel
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.samplers import KSAMPLER
from comfy_api.latest import io
from torch import Tensor
from tqdm.auto import tqdm

from . import lgs
from .kernels import differentiable_kernels
from .lgs._engine import engine
from .lgs.diagonal import Diagonal
from .process import forward_process, noise_scale
from .progress import EvaluationProgress
from .runs import Run, fingerprint, new_runs
from .schema import node_schema

WITHOUT_PRODUCTS = ("isotropic", "isotropic-large", "diagonal-learned")
"""The covariances that evaluate the model once a step."""


class LGSSampler(io.ComfyNode):
    """The node. Its inputs are the options of `lgs.Options` that the model does not decide."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema("LGSSampler", beside="KSamplerSelect")

    @classmethod
    def execute(cls, diagonal: Diagonal | None = None, **inputs) -> io.NodeOutput:
        # What is wrong is reported here, by the node that holds it, not while sampling.
        engine()
        options = lgs.Options(**inputs)
        if options.covariance == "diagonal-learned" and diagonal is None:
            raise ValueError(
                "diagonal: covariance diagonal-learned needs a network for the diagonal, and none is connected. "
                "Connect Load Diagonal Covariance, or choose diagonal, which needs none."
            )
        return io.NodeOutput(KSAMPLER(sample_lgs, extra_options={**inputs, "diagonal": diagonal, "runs": new_runs()}))


@torch.no_grad()
def sample_lgs(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict | None = None,
    callback: Callable[[dict], None] | None = None,
    disable: bool | None = None,
    diagonal: Diagonal | None = None,
    runs: deque[Run] | None = None,
    **options,
) -> Tensor:
    """`lgs.sample` with the signature of a sampler of ``comfy.k_diffusion.sampling``.

    ``model(x, sigma, **extra_args)`` is the guided posterior mean; ``callback`` drives ComfyUI's
    progress bar and preview; ``disable`` hides the bar on the console; ``diagonal`` is the network of
    covariance diagonal-learned; ``runs`` gets the record of this run.
    """
    if len(sigmas) < 2:
        return x
    extra_args = {} if extra_args is None else extra_args
    base_model = model.inner_model.inner_model
    model_sampling = base_model.model_sampling
    options = options_for(base_model, **options)
    if options.covariance not in WITHOUT_PRODUCTS:
        refuse_reused_answers(extra_args, "LGS Sampler", "Remove that node, or set the input covariance to isotropic.")
    record = lgs.Record({"seed": extra_args.get("seed")})
    batch, posterior_mean = len(x), denoiser(model, extra_args)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = posterior_mean(x, sigma)
        progress.evaluated(len(x) // batch)
        return denoised

    def report(step: dict) -> None:
        record(step)
        progress.stepped(step)

    # Drawn at most ten times a second, however often it is told something.
    with tqdm(total=len(sigmas) - 1, disable=disable, miniters=0) as console:
        progress = EvaluationProgress(len(sigmas) - 1, options, callback, console)
        try:
            samples = lgs.sample(
                denoise,
                x,
                sigmas,
                options,
                noise=noise_sampler(x, extra_args.get("seed")),
                callback=report,
                diagonal=diagonal,
                model=model_of(model),
            )
        except NotImplementedError as error:
            if options.jvp != "forward":
                raise
            why = (str(error).splitlines() or ["It does not say more."])[0]
            raise lgs.Error(
                "LGS Sampler: forward mode needs a derivative of every operation of the model, and one has none: "
                f"{why} Set the input Jacobian product to auto or finite-difference."
            ) from error
        finally:
            if diagonal is not None:
                diagonal.release()  # ComfyUI keeps it with the node, and does not know what it holds
    if runs is not None:
        # What ComfyUI makes of it is what the graph sees.
        latent = base_model.process_latent_out(model_sampling.inverse_noise_scaling(sigmas[-1], samples).float())
        runs.append(Run(record, fingerprint(latent)))
    return samples


def refuse_reused_answers(extra_args: dict, node: str, remedy: str) -> None:
    """An error for a model that EasyCache or LazyCache answers for.

    They give the answer of an evaluation nearby, moved along with x: of all evaluations, those of a
    Jacobian-vector product are the nearest, and its result would be the vector itself.
    """
    transformer_options = extra_args.get("model_options", {}).get("transformer_options", {})
    if "easycache" in transformer_options:
        raise lgs.Error(
            f"{node}: expected the model itself to answer, got one with EasyCache or LazyCache, which reuse an answer "
            f"for one nearby, and all evaluations of a step are near each other. {remedy}"
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
    """What `lgs.sample` is to remember its choices for: what of a sampler's model lives on after the run."""
    return getattr(model.inner_model, "model_patcher", model.inner_model.inner_model)


def options_for(model: BaseModel, **options) -> lgs.Options:
    """The options that a user chose, with those that the model decides."""
    options = lgs.Options(**options).as_dict()
    options["s_noise"] *= noise_scale(model.model_sampling)
    return lgs.Options(**options | {"process": forward_process(model.model_sampling), "precision": precision(model)})


def precision(model: BaseModel) -> str:
    """What the model computes in, as ``lgs.Options`` names it: x stays float32 in ComfyUI whatever that is."""
    dtype = model.manual_cast_dtype or model.get_dtype()
    name = str(dtype).removeprefix("torch.")
    return name if name in ("float64", "float32", "bfloat16", "float16") else "auto"


def noise_sampler(x: Tensor, seed: int | None) -> Callable[[float, float], Tensor]:
    """What ``comfy.k_diffusion.sampling.default_noise_sampler`` of a current ComfyUI gives for a seed.

    Written out because ComfyUI 0.3.64's draws, on the CPU, the very noise that the picture starts
    from again for its first step (the same seed, the same generator): the noise after that step is
    then up to 1.4 times too strong. Later versions add 1 to the seed, as here.
    """
    generator = None
    if seed is not None:
        generator = torch.Generator(device=x.device)
        generator.manual_seed((seed + 1) % 2**64 if x.device.type == "cpu" else seed)

    def noise(sigma: float, sigma_next: float) -> Tensor:
        return torch.randn(x.size(), dtype=x.dtype, layout=x.layout, device=x.device, generator=generator)

    return noise
