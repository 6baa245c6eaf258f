"""Where a trajectory starts, if not at pure noise: from what is known of the data before the first evaluation.

    prior = lgs.GaussianPrior.fit(latents, rank=64)
    x = prior.begin(noise, 5.0)
    samples = lgs.sample(denoise, x, sigmas_from_5_on)

start.py       `Start`: what all families have in common
gaussian.py    `GaussianPrior`: mean and leading components of the data, and teleportation with them
mixture.py     `MixturePrior`: several of them
flow.py        `FlowPrior`: a normalising flow
low_rank.py    densities and posterior means of Gaussians
components.py  principal components of a stream of pictures
em.py          how a mixture is fitted
batches.py     pictures that are read several times
from_model.py  what a model's answers at high noise say of the data that it draws
divergence.py  how far a start is from what the model draws
levels.py      and from this where a trajectory should begin
unfinished.py  a fit that was stopped
files.py       the safetensors files of starts
items.py       pictures and latents of files, for a fit
command.py     the command line: lgs fit
"""

from __future__ import annotations

from os import PathLike

from . import files
from .divergence import divergence
from .flow import FlowPrior
from .gaussian import GaussianPrior
from .levels import Divergence
from .mixture import MixturePrior
from .start import Start

__all__ = ["Divergence", "FlowPrior", "GaussianPrior", "MixturePrior", "Start", "divergence", "load"]

FAMILIES: dict[str, type[Start]] = {kind.family: kind for kind in (GaussianPrior, MixturePrior, FlowPrior)}


def load(file: str | PathLike[str]) -> Start:
    """The start of a file, of whatever family. Raises `lgs.InvalidArgument` for one that is missing, damaged or of
    another kind."""
    family = files.read(file)[0]
    if family not in FAMILIES:
        raise files.unusable(file, ValueError(f"expected one of {', '.join(FAMILIES)}, got the family {family!r}"))
    return FAMILIES[family].load(file)
