"""A start as people see it: in words, and as pictures of its mean and components."""

from __future__ import annotations

from collections.abc import Callable

import torch
from comfy.latent_formats import LatentFormat
from torch import Tensor

from .. import lgs
from ..host.started_sampler import sized
from ..lgs.starts import GaussianPrior, MixturePrior, Start

PARTS = (-2.0, 0.0, 2.0)
"""Standard deviations from the mean at which a component is shown."""

FAMILY = {"gaussian": "Gaussian"}
"""As people write it, where that differs."""

SHOWN = 3
"""Components in the picture."""

SAID = 5
"""Variances in the text."""

STEPS = (5, 10, 20)
"""Numbers of steps for which the text says where to begin."""


def in_words(start: Start) -> str:
    """What it was fitted to, and what it says, with numbers."""
    about, shape = start.about, sized(start.shape)
    source = about.get("source")
    if source == "model":
        fitted = f"the model itself, in {about['evaluations']} evaluations at sigma {float(about['sigma']):.4g}"
    elif source == "pictures":
        fitted = f"{about['count']} pictures"
    else:
        fitted = source or "something that its file does not say"
    lines = [f"A {FAMILY.get(start.family, start.family)} start for latents of {shape}, fitted to {fitted}."]
    if isinstance(start, GaussianPrior):
        lines.append(_gaussian(start))
    if isinstance(start, MixturePrior):
        lines.append(
            f"{len(start.weights)} components of weight {_numbers(start.weights.sort(descending=True).values)}."
        )
    lines.append(_levels(start))
    known = {"process": "process", "seed": "seed", "model_digest": "model", "prompt_digest": "prompt"}
    said = [f"{words} {about[name]}" for name, words in known.items() if name in about]
    if said:
        lines.append(f"For {', '.join(said)}.")
    return "\n".join(lines)


def _levels(start: Start) -> str:
    """Where to begin, for several numbers of steps."""
    try:
        levels = {steps: start.level(steps) for steps in STEPS}
    except lgs.InvalidArgument:
        return "Not compared with a model: LGS Start has to be told the noise level to begin at."
    said = [f"{level:.3g} in {steps} steps" for steps, level in levels.items() if level is not None]
    if not said:
        return "Too far from the model at every noise level: LGS Start does not use it."
    return f"LGS Start begins at sigma {', '.join(said)}{', and not at all in more' if len(said) < len(STEPS) else ''}."


def _numbers(values: Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values[:SAID].tolist()) + (", ..." if len(values) > SAID else "")


def _gaussian(start: GaussianPrior) -> str:
    rank, rest = len(start.variances), start.rest
    others = start.mean.numel() - rank
    total = start.variances.sum().item() + rest * others
    if not rank:
        return f"No component; variance {rest:.3g} along every direction."
    share = start.variances.sum().item() / total if total > 0 else 1.0
    components = "1 component" if rank == 1 else f"{rank} components"
    return (
        f"{components} of variance {_numbers(start.variances)}, {share:.0%} of the total; {rest:.3g} along each of the "
        f"{others} other directions."
    )


def pictured(start: GaussianPrior, images: Callable[[Tensor], Tensor]) -> Tensor:
    """Rows (k, height, 3 width, 3), one for each of the leading components: the mean less two standard deviations along
    it, the mean, the mean plus two. ``images`` makes pictures (n, height, width, 3) of latents (n, d...)."""
    mean = start.mean[None]
    if not len(start.variances):
        return images(mean)
    lengths = start.variances.sqrt()
    rows = []
    for k in range(min(SHOWN, len(lengths))):
        parts = [images(mean + part * lengths[k] * start.basis[None, ..., k]) for part in PARTS]
        rows.append(torch.cat(parts, dim=2))
    return torch.cat(rows)


def projected(latents: Tensor, latent_format: LatentFormat) -> Tensor:
    """Pictures (n, height, width, 3), 0..1, of latents (n, channels, ...) in the model's own space, without a VAE: the
    colours of ComfyUI's live preview, or else the mean of the channels in grey. Of a video the first frame."""
    latents = latents.float()
    if (reshape := getattr(latent_format, "latent_rgb_factors_reshape", None)) is not None:
        latents = reshape(latents)
    if latents.ndim == 5:
        latents = latents[:, :, 0]
    factors = latent_format.latent_rgb_factors
    if latents.ndim == 4 and factors is not None and len(factors) == latents.shape[1]:
        colours = latents.movedim(1, -1) @ torch.tensor(factors, dtype=torch.float32)
        bias = getattr(latent_format, "latent_rgb_factors_bias", None)
        colours = colours if bias is None else colours + torch.tensor(bias, dtype=torch.float32)
        return ((colours + 1) / 2).clamp(0, 1)
    # Neither pictures nor known colours: sound is shown as its channels over time.
    grey = latents.mean(dim=1) if latents.ndim == 4 else latents.reshape(len(latents), -1, latents.shape[-1])
    sd = grey.std().clamp_min(1e-6)
    return (0.5 + (grey - grey.mean()) / (4 * sd)).clamp(0, 1)[..., None].expand(*grey.shape, 3)
