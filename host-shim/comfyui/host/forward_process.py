"""Which forward process ComfyUI's loaded model was trained for, from its ``model_sampling``."""

from __future__ import annotations

import comfy.model_sampling
import torch

from ..lgs import Error

FLOW = (comfy.model_sampling.CONST,)
"""x = (1 - sigma) x0 + sigma noise: SD3, Flux, Wan, Qwen-Image."""

VARIANCE_EXPLODING = (comfy.model_sampling.EPS, comfy.model_sampling.COSMOS_RFLOW)
"""x = x0 + sigma noise. Every other prediction type of ComfyUI (v, EDM, x0, LCM) is a subclass of EPS."""

NOT_DIFFUSION = tuple(
    getattr(comfy.model_sampling, name)
    for name in ("IMG_TO_IMG", "IMG_TO_IMG_FLOW")
    if hasattr(comfy.model_sampling, name)
)
"""Subclasses of the above that start from an image and add no noise. The flow one is newer than 0.3.64."""


def forward_process(model_sampling: object) -> str:
    """``"ve"`` or ``"flow"``; an error for a model that is neither, which would be sampled wrongly.

    Neither are image-to-image regressors, and CogVideoX (V_PREDICTION_DDPM), whose network takes
    variance-preserving inputs and which ComfyUI samples with a sampler of its own.
    """
    if not isinstance(model_sampling, NOT_DIFFUSION):
        if isinstance(model_sampling, FLOW):
            return "flow"
        if isinstance(model_sampling, VARIANCE_EXPLODING):
            return "ve"
    # ComfyUI mixes a convention into a noise schedule, which is a torch module.
    bases = (base.__name__ for base in type(model_sampling).__mro__ if not issubclass(base, torch.nn.Module))
    convention = next(bases)
    raise Error(
        f"LGS Sampler cannot sample this model: its convention in ComfyUI, {convention}, is neither "
        "variance exploding (x = x0 + sigma noise) nor flow (x = (1 - sigma) x0 + sigma noise). "
        "Use the sampler that this model's own example workflow uses."
    )


def noise_scale(model_sampling: object) -> float:
    """Standard deviation of the noise that a flow model calls sigma = 1. Not 1 for HiDream-O1 only.

    x = (1 - sigma) x0 + sigma scale noise. The mean of a reverse step does not see the scale and
    its covariance is scale squared times what it is for a scale of 1: a factor on the noise drawn.
    """
    return float(getattr(model_sampling, "noise_scale", 1.0))
