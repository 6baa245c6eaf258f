"""LGS by name in ComfyUI's own list of samplers: in KSampler, KSamplerSelect and whatever else reads that list.

The list is the host's, and a name is put behind its own. A saved graph with one of the names, in a ComfyUI without this
pack, gets the host's usual message for a name that is not in the list.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import comfy.samplers
import torch
from comfy.k_diffusion import sampling
from torch import Tensor

from .. import lgs
from .sampler import sample_lgs
from .schema import node_definition, options_of

MODES = {"lgs": "secant", "lgs_lanczos": "lanczos"}
"""The names, with the mode of LGS Sampler that each stands for; its other inputs are at their defaults."""


def enter_list() -> None:
    """Puts the names into the list, once, and their functions where ComfyUI looks for them."""
    for name, mode in MODES.items():
        setattr(sampling, f"sample_{name}", _sampler(name, mode))
        # One list in two or three places, so far.
        for names in (comfy.samplers.SAMPLER_NAMES, comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSAMPLER_NAMES):
            if name not in names:
                names.append(name)


def _sampler(name: str, mode: str) -> Callable[..., Tensor]:
    """A sampler of ``comfy.k_diffusion.sampling``. The native library is loaded when it first runs."""

    @torch.no_grad()
    def sample(
        model: Callable[..., Tensor],
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict | None = None,
        callback: Callable[[dict], None] | None = None,
        disable: bool | None = None,
    ) -> Tensor:
        place = f"the sampler {name}"
        return sample_lgs(model, x, sigmas, extra_args, callback, disable, options=_options(mode), place=place)

    sample.__name__ = sample.__qualname__ = f"sample_{name}"
    return sample


@cache
def _options(mode: str) -> lgs.Options:
    inputs = node_definition("LGSSampler")["inputs"]
    defaults = {entry["id"]: entry.get("recommended", entry["default"]) for entry in inputs if "source" not in entry}
    return lgs.Options(**options_of("LGSSampler", defaults | {"covariance": mode}))
