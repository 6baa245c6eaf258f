"""LGS Sampler: a SAMPLER for SamplerCustom and SamplerCustomAdvanced."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from comfy.samplers import KSAMPLER
from comfy_api.latest import io
from torch import Tensor
from tqdm.auto import tqdm

from .. import lgs
from ..host.forward_process import noise_scale
from ..host.guided_model import denoiser, model_of, noise_sampler, refuse_reused_answers, with_model
from ..lgs._ffi.engine import engine
from ..lgs.diagonal import Diagonal
from ..lgs.errors import without_derivative
from ..lgs.node_manifest import options_of
from .progress import EvaluationProgress
from .run_history import Run, fingerprint, new_history
from .schema import node_schema, with_old_names


class LGSSampler(io.ComfyNode):
    """The node. Its inputs are the options of `lgs.Options` that the model does not decide."""

    @classmethod
    def INPUT_TYPES(cls, *args, **kwargs):
        """The schema's, and the old names of options, which graphs of earlier versions post.

        ComfyUI validates a posted graph by this, and silently drops inputs that are not in it. The editor gets the
        schema alone, so that it does not show them.
        """
        return with_old_names("LGSSampler", super().INPUT_TYPES(*args, **kwargs))

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema("LGSSampler", beside="KSamplerSelect")

    @classmethod
    def execute(cls, diagonal: Diagonal | None = None, **inputs) -> io.NodeOutput:
        # What is wrong is reported here, by the node that holds it, not while sampling.
        engine()
        options = lgs.Options(**options_of("LGSSampler", inputs))
        if options.covariance == "diagonal-learned" and diagonal is None:
            raise ValueError(
                "diagonal: covariance diagonal-learned needs a network for the diagonal, and none is connected. "
                "Connect Load Diagonal Covariance, or choose diagonal, which needs none."
            )
        asked = {"options": options, "diagonal": diagonal, "runs": new_history()}
        return io.NodeOutput(KSAMPLER(sample_lgs, extra_options=asked))


@torch.no_grad()
def sample_lgs(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict | None = None,
    callback: Callable[[dict], None] | None = None,
    disable: bool | None = None,
    *,
    options: lgs.Options,
    diagonal: Diagonal | None = None,
    runs: deque[Run] | None = None,
    place: str = "LGS Sampler",
) -> Tensor:
    """`lgs.sample` with the signature of a sampler of ``comfy.k_diffusion.sampling``.

    ``model(x, sigma, **extra_args)`` is the guided posterior mean; ``callback`` drives ComfyUI's
    progress bar and preview; ``disable`` hides the bar on the console; ``options`` are those of the node;
    ``diagonal`` is the network of covariance diagonal-learned; ``runs`` gets the record of this run;
    ``place`` is what a user knows this as, for messages.
    """
    if len(sigmas) < 2:
        return x
    extra_args = {} if extra_args is None else extra_args
    base_model = model.inner_model.inner_model
    model_sampling = base_model.model_sampling
    skipped = steps_before(sigmas, extra_args)
    options = with_model(options, base_model)._with(pure_noise=not skipped and noise_alone(model, extra_args))
    if options.products:
        refuse_reused_answers(extra_args, place, "Remove that node, or take LGS Sampler's mode secant or isotropic.")
    record = lgs.Record({"seed": extra_args.get("seed")})
    batch, posterior_mean = len(x), denoiser(model, extra_args)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = posterior_mean(x, sigma)
        progress.evaluated(len(x) // batch)
        return denoised

    def report(step: dict) -> None:
        record(step)
        progress.stepped(step)

    # Drawn at most ten times a second, however often it is updated.
    with tqdm(total=len(sigmas) - 1, disable=disable, miniters=0) as console:
        progress = EvaluationProgress(len(sigmas) - 1, options, callback, console, skipped)
        try:
            samples = lgs.sample(
                denoise,
                x,
                sigmas,
                options,
                noise=noise_sampler(x, extra_args.get("seed"), noise_scale(model_sampling)),
                callback=report,
                diagonal=diagonal,
                model=model_of(model),
            )
        except NotImplementedError as error:
            if options.jvp != "forward":
                raise
            raise without_derivative("LGS Sampler", error) from error
        finally:
            if diagonal is not None:
                diagonal.release()  # ComfyUI keeps it with the node, and does not know what it holds
    if runs is not None:
        # What ComfyUI makes of it is what the graph sees.
        latent = base_model.process_latent_out(model_sampling.inverse_noise_scaling(sigmas[-1], samples).float())
        runs.append(Run(record, fingerprint(latent)))
    return samples


def steps_before(sigmas: Tensor, extra_args: dict) -> int:
    """Steps of the whole run that came before ``sigmas``: LGS Start takes some."""
    whole = extra_args.get("model_options", {}).get("transformer_options", {}).get("sample_sigmas")
    return 0 if whole is None else max(0, len(whole) - len(sigmas))


def noise_alone(model: Callable[..., Tensor], extra_args: dict) -> bool:
    """Whether a run of ComfyUI's begins with noise and nothing beneath: an empty latent, and no mask."""
    latent = getattr(model, "latent_image", None)
    return latent is not None and extra_args.get("denoise_mask") is None and not torch.count_nonzero(latent)
