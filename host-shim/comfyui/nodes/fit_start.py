"""Fit LGS Start: what is known of the pictures before the first evaluation, found once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from comfy.model_management import intermediate_device, throw_exception_if_processing_interrupted
from comfy.sample import fix_empty_latent_channels
from comfy.samplers import KSAMPLER, CFGGuider
from comfy.sd import VAE
from comfy.utils import ProgressBar
from comfy_api.latest import io, ui
from torch import Tensor

from .. import lgs
from ..host.digests import model_digest, prompt_digest
from ..host.forward_process import forward_process, noise_scale
from ..host.guided_model import denoiser, refuse_reused_answers
from ..lgs.starts import GaussianPrior
from .pictures import encoded, files_of, in_models_space, read
from .schema import node_schema
from .start_files import complaint_of_name, place_of
from .start_words import in_words, pictured, projected

FLOW_LEVEL = 0.97
"""Of a flow, where x at pure noise still says something of x_0."""


class LGSFitStart(io.ComfyNode):
    """The node. Pictures, if there are any, or else the model's own answers at pure noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema("LGSFitStart", beside="SamplerCustomAdvanced")

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        # None: the text comes from another node, and is not known before that has run.
        return True if name is None else (complaint_of_name(name) or True)

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, **_) -> object:
        """Another one once a picture of the folder is another."""
        if not folder:
            return None
        try:
            return [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files_of(folder)]
        except (lgs.Error, OSError):
            return None  # it is said when the node runs

    @classmethod
    def execute(
        cls,
        guider: CFGGuider,
        name: str,
        latent_image: dict | None = None,
        latents: dict | None = None,
        images: Tensor | None = None,
        vae: VAE | None = None,
        folder: str = "",
        evaluations: int = 64,
        rank: int = 0,
        seed: int = 0,
    ) -> io.NodeOutput:
        if wrong := complaint_of_name(name):
            raise lgs.InvalidArgument(f"name: {wrong}")
        patcher = guider.model_patcher
        about = {
            "process": forward_process(patcher.get_model_object("model_sampling")),
            "model_digest": model_digest(patcher),
        }
        files = files_of(folder) if folder.strip() else []
        if (files or images is not None) and vae is None:
            given = "folder" if files else "images"
            raise lgs.InvalidArgument(
                f"vae: expected one, to turn the pictures of {given} into latents, got none. Connect the model's VAE."
            )
        if files or images is not None or latents is not None:
            count = len(files) + sum(len(t) for t in (images, (latents or {}).get("samples")) if t is not None)
            bar = ProgressBar(count)
            stream = _latents(guider, latents, images, files, vae)
            start = GaussianPrior.fit(stream, rank or None, about=about, progress=bar.update_absolute)
        elif latent_image is None:
            raise lgs.InvalidArgument(
                "latent_image: expected a latent, which says the size of what is drawn, got none. Connect the empty "
                "latent that is sampled; or pictures to fit to: latents, images or a folder."
            )
        else:
            about |= {"prompt_digest": prompt_digest(guider), "seed": str(seed)}
            start = fitted_to_model(guider, latent_image["samples"], rank or None, evaluations, seed, about)

        def shown(samples: Tensor) -> Tensor:
            if vae is None:
                return projected(samples, patcher.get_model_object("latent_format")).to(intermediate_device())
            # Frames of a video one after the other; the first is enough to know it by.
            pictures = vae.decode(patcher.model.process_latent_out(samples)).to(intermediate_device(), torch.float32)
            return pictures.reshape(-1, *pictures.shape[-3:])[:1]

        image = pictured(start, shown)
        file = place_of(name)
        throw_exception_if_processing_interrupted()
        start.save(file)
        text = f"{in_words(start)}\nKept as {file.parent.name}/{file.name}, for Load LGS Start."
        return io.NodeOutput(start, image, text, ui=ui.PreviewImage(image, cls=cls))


def _latents(
    guider: CFGGuider, latents: dict | None, images: Tensor | None, files: list, vae: VAE | None
) -> Iterator[Tensor]:
    """All that there is, in batches, in the model's own space."""
    if latents is not None:
        yield in_models_space(latents["samples"], guider.model_patcher)
    for pictures in [] if images is None else [images]:
        for part in encoded(pictures, vae):
            yield in_models_space(part, guider.model_patcher)
    for pictures in read(files):
        for part in encoded(pictures, vae):
            yield in_models_space(part, guider.model_patcher)


def fitted_to_model(
    guider: CFGGuider, latent: Tensor, rank: int | None, evaluations: int, seed: int, about: dict[str, str]
) -> GaussianPrior:
    """From the model's answers at pure noise, prompted and guided, for pictures of the size of ``latent``
    (batch, d...), evaluated in batches as large as its own: what is sampled with fits into the memory."""
    if getattr(latent, "is_nested", False):
        raise lgs.InvalidArgument(
            "latent_image: expected one picture or video, got several things in one latent (video with sound). Give it "
            "the video's own."
        )
    patcher = guider.model_patcher
    # An empty latent has the channels of Stable Diffusion, whatever the model.
    empty = fix_empty_latent_channels(patcher, torch.zeros_like(latent))
    sigma = float(patcher.get_model_object("model_sampling").sigma_max)
    if about["process"] == "flow":
        sigma = min(sigma, FLOW_LEVEL)
    kept: list[GaussianPrior] = []
    asked = {"rank": rank, "evaluations": evaluations, "seed": seed, "about": about, "kept": kept}
    guider.sample(
        torch.zeros_like(empty),
        empty,
        KSAMPLER(fit_to_answers, extra_options=asked),
        torch.tensor([sigma, 0.0]),
        seed=seed,
    )
    [start] = kept
    return start


@torch.no_grad()
def fit_to_answers(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict | None = None,
    callback: Callable[[dict], None] | None = None,
    disable: bool | None = None,
    *,
    rank: int | None,
    evaluations: int,
    seed: int,
    about: dict[str, str],
    kept: list[GaussianPrior],
) -> Tensor:
    """`lgs.GaussianPrior.from_model` at ``sigmas[0]``, by a function that ComfyUI can call as a sampler: ``kept`` gets
    the start, and x comes back as it is."""
    extra_args = {} if extra_args is None else extra_args
    refuse_reused_answers(extra_args, "Fit LGS Start", "Take the model from before that node.")
    posterior_mean, sigma = denoiser(model, extra_args), float(sigmas[0])
    bar = ProgressBar(evaluations)
    # A flow with noise of another size is one of size 1 at another level, scaled.
    flow = about["process"] == "flow"
    scale = noise_scale(model.inner_model.inner_model.model_sampling) if flow else 1.0
    size = 1 - sigma + scale * sigma if flow else 1.0

    def denoise(noisy: Tensor, level: Tensor) -> Tensor:
        return posterior_mean((size * noisy).to(x), torch.full((len(noisy),), sigma, device=x.device)).cpu()

    start = GaussianPrior.from_model(
        denoise,
        tuple(x.shape[1:]),
        scale * sigma / size,
        rank,
        evaluations=evaluations,
        batch=len(x),
        process=about["process"],
        # On the CPU, so that a seed is the same noise everywhere.
        generator=torch.Generator().manual_seed(seed),
        about=about,
        progress=bar.update_absolute,
    )
    kept.append(start)
    return x
