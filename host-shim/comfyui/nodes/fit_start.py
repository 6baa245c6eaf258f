"""Fit LGS Start: what is known of the pictures before the first evaluation, found once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from comfy.model_management import intermediate_device, throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
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
from ..lgs.starts import Divergence, GaussianPrior, divergence
from ..lgs.starts.levels import ITEMS, LEVELS, shared
from .pictures import encoded, files_of, in_models_space, read
from .schema import node_schema
from .start_files import Work, complaint_of_name
from .start_words import in_words, pictured, projected

FLOW_LEVEL = 0.97
"""Of a flow, where x at pure noise still says something of x_0."""

Denoiser = Callable[[Tensor, Tensor], Tensor]
Fit = Callable[[Denoiser, float, int], GaussianPrior]


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
            "prompt_digest": prompt_digest(guider),
            "seed": str(seed),
        }
        files = files_of(folder) if folder.strip() else []
        if (files or images is not None) and vae is None:
            given = "folder" if files else "images"
            raise lgs.InvalidArgument(
                f"vae: expected one, to turn the pictures of {given} into latents, got none. Connect the model's VAE."
            )
        start, levels = None, LEVELS
        if files or images is not None or latents is not None:
            given = [
                len(files),
                0 if images is None else len(images),
                0 if latents is None else len(latents["samples"]),
            ]
            count = sum(given)
            bar = ProgressBar(count + levels * ITEMS)
            stream = _latents(guider, latents, images, files, vae)
            work = Work(name, (about, rank, _known_by(latents), _known_by(images), [_known_by(file) for file in files]))
            start = work.fitted_before() or work.fitted(
                GaussianPrior.fit(
                    stream, rank or None, about=about, progress=bar.update_absolute, resume=work.unfinished
                )
            )
            empty = torch.zeros(1, *start.shape)
        elif latent_image is None:
            raise lgs.InvalidArgument(
                "latent_image: expected a latent, which says the size of what is drawn, got none. Connect the empty "
                "latent that is sampled; or pictures to fit to: latents, images or a folder."
            )
        else:
            count, levels = shared(evaluations)
            if rank >= count:
                raise lgs.InvalidArgument(
                    f"rank: expected 0 to {count - 1}, fewer than the {count} of the {evaluations} evaluations that "
                    f"are at pure noise, got {rank}. Raise evaluations, or lower rank."
                )
            bar = ProgressBar(evaluations)
            empty = _emptied(patcher, latent_image["samples"])
            work = Work(name, (about, rank, count, tuple(empty.shape)))
            start = work.fitted_before()

        def fit(denoise: Denoiser, sigma: float, batch: int) -> GaussianPrior:
            # On the CPU, so that a seed is the same noise everywhere.
            generator, process = torch.Generator().manual_seed(seed), about["process"]
            fitted = start or work.fitted(
                GaussianPrior.from_model(
                    denoise,
                    tuple(empty.shape[1:]),
                    sigma,
                    rank or None,
                    evaluations=count,
                    batch=batch,
                    process=process,
                    generator=generator,
                    about=about,
                    progress=bar.update_absolute,
                    resume=work.unfinished,
                )
            )
            told = divergence(
                fitted,
                denoise,
                sigma,
                levels=levels,
                process=process,
                generator=generator,
                progress=lambda done: bar.update_absolute(count + done),
            )
            fitted.about["divergence"] = told.as_text()
            bar.update_absolute(count + levels * ITEMS)
            return fitted

        start = fitted_with(guider, empty, about["process"], seed, fit)

        def shown(samples: Tensor) -> Tensor:
            if vae is None:
                return projected(samples, patcher.get_model_object("latent_format")).to(intermediate_device())
            # Frames of a video one after the other; the first is enough to know it by.
            pictures = vae.decode(patcher.model.process_latent_out(samples)).to(intermediate_device(), torch.float32)
            return pictures.reshape(-1, *pictures.shape[-3:])[:1]

        image = pictured(start, shown)
        throw_exception_if_processing_interrupted()
        work.done(start)
        text = f"{in_words(start)}\nKept as {work.file.parent.name}/{work.file.name}, for Load LGS Start."
        return io.NodeOutput(start, image, text, ui=ui.PreviewImage(image, cls=cls))


def _known_by(given: dict | Tensor | Path | None) -> object:
    """What tells the pictures of one fit from those of another."""
    if given is None:
        return None
    if isinstance(given, Path):
        return given.name, given.stat().st_mtime_ns, given.stat().st_size
    tensor = given["samples"] if isinstance(given, dict) else given
    return tuple(tensor.shape), tensor.double().sum().item(), tensor.double().square().sum().item()


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


def _emptied(patcher: ModelPatcher, latent: Tensor) -> Tensor:
    """An empty latent of the size of another, (batch, d...), as the model takes it."""
    if getattr(latent, "is_nested", False):
        raise lgs.InvalidArgument(
            "latent_image: expected one picture or video, got several things in one latent (video with sound). Give it "
            "the video's own."
        )
    # An empty latent has the channels of Stable Diffusion, whatever the model.
    return fix_empty_latent_channels(patcher, torch.zeros_like(latent))


def fitted_with(guider: CFGGuider, empty: Tensor, process: str, seed: int, fit: Fit) -> GaussianPrior:
    """What ``fit`` makes of the guided model at its highest noise level, prepared for latents like ``empty``."""
    sigma = float(guider.model_patcher.get_model_object("model_sampling").sigma_max)
    if process == "flow":
        sigma = min(sigma, FLOW_LEVEL)
    kept: list[GaussianPrior] = []
    guider.sample(
        torch.zeros_like(empty),
        empty,
        KSAMPLER(sample_to_fit, extra_options={"fit": fit, "sigma": sigma, "process": process, "kept": kept}),
        torch.tensor([sigma, 0.0]),
        seed=seed,
    )
    [start] = kept
    return start


@torch.no_grad()
def sample_to_fit(
    model: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict | None = None,
    callback: Callable[[dict], None] | None = None,
    disable: bool | None = None,
    *,
    fit: Fit,
    sigma: float,
    process: str,
    kept: list[GaussianPrior],
) -> Tensor:
    """Samples nothing, by a function that ComfyUI can call as a sampler: ``kept`` gets what ``fit`` makes of the guided
    posterior mean, ``sigma`` and the batch of x. x comes back as it is.

    The model is evaluated in batches as large as that of x: what is sampled with fits into the memory.
    """
    extra_args = {} if extra_args is None else extra_args
    refuse_reused_answers(extra_args, "Fit LGS Start", "Take the model from before that node.")
    posterior_mean = denoiser(model, extra_args)
    # A flow with noise of another size is one of size 1 at another level, scaled.
    scale = noise_scale(model.inner_model.inner_model.model_sampling) if process == "flow" else 1.0

    def denoise(noisy: Tensor, level: Tensor) -> Tensor:
        at, size = float(level[0]), 1.0
        if process == "flow":
            at = at / (scale - scale * at + at)
            size = 1 - at + scale * at
        parts = [part.to(x) * size for part in noisy.split(len(x))]
        return torch.cat([posterior_mean(part, part.new_full((len(part),), at)).cpu() for part in parts])

    if process == "flow":
        sigma = scale * sigma / (1 - sigma + scale * sigma)
    start = fit(denoise, sigma, len(x))
    if scale != 1 and "divergence" in start.about:
        # The node's levels are the host's own sigma / (1 - sigma).
        told = Divergence.from_text(start.about["divergence"])
        start.about["divergence"] = Divergence(tuple(s / scale for s in told.levels), told.nats).as_text()
    kept.append(start)
    return x
