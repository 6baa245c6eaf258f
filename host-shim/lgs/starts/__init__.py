"""Where a trajectory starts, if not at pure noise: from what is known of the data before the first evaluation.

    prior = lgs.GaussianPrior.fit(latents, rank=64)
    x = prior.teleport(noise * sigmas[0], sigmas[0], 5.0)
    samples = lgs.sample(denoise, x, sigmas_from_5_on)

gaussian.py    `GaussianPrior`: mean and leading components of the data, and teleportation with them
components.py  principal components of a stream of pictures
from_model.py  what a model's answers at high noise say of the data that it draws
files.py       the safetensors file of a prior
"""

from .gaussian import GaussianPrior

__all__ = ["GaussianPrior"]
