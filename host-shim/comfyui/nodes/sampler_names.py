"""LGS by name in ComfyUI's own list of samplers: in KSampler, KSamplerSelect and whatever else reads that list.

The list is the host's, and a name is put behind its own. A saved graph with one of the names, in a ComfyUI without this
pack, gets the host's usual message for a name that is not in the list.
"""

from __future__ import annotations

from collections.abc import Callable

import comfy.samplers
from comfy.k_diffusion import sampling
from torch import Tensor

from .. import lgs
from .sampler import sample_lgs

OPTIONS = {"lgs": {}, "lgs_lanczos": {"solver": "ancestral"}}
"""The names, with what differs from LGS Sampler's defaults: the modes secant and lanczos."""


def enter_list() -> None:
    """Puts the names into the list, once, and their functions where ComfyUI looks for them."""
    for name in OPTIONS:
        setattr(sampling, f"sample_{name}", _sampler(name))
        # One list in two or three places, so far.
        for names in (comfy.samplers.SAMPLER_NAMES, comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSAMPLER_NAMES):
            if name not in names:
                names.append(name)


def _sampler(name: str) -> Callable[..., Tensor]:
    """`sample_lgs` under this name, as a sampler of ``comfy.k_diffusion.sampling``."""

    def sample(*arguments, **named) -> Tensor:
        # Asks the native library, which is loaded when a sampler first runs.
        options = lgs.Options.recommended(**OPTIONS[name])
        return sample_lgs(*arguments, **named, options=options, place=f"the sampler {name}")

    sample.__name__ = sample.__qualname__ = f"sample_{name}"
    return sample
