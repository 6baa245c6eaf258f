"""KLs along paths through the mixture of `evidence.report.mixture`: by formula, and of the product's own noise.

What each function returns is a sum over the steps, for each path by itself: x_t = x_0 + sigma_t eps with the
same x_0 and eps at every level, whatever the number of steps and the covariance.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

import lgs

from . import laws, mixture
from .kernels import NAMES, basis_of, log_spaced, simplified, starts, step_kl


def path_kl(smallest: float, steps: int, count: int, block: int, version: str) -> dict[str, np.ndarray]:
    """The sum of `step_kl` over the steps for each path (count,) of a block.

    ``smallest`` is `separated_mixture`'s; ``version`` tells the cache of other files.
    """
    model = mixture.separated_mixture(smallest)
    clean, eps = starts(model, count, block)
    total = dict.fromkeys(NAMES, 0.0)
    for sigma, sigma_next in itertools.pairwise(log_spaced(steps)):
        for name, kl in step_kl(model, clean + sigma * eps, sigma, sigma_next).items():
            total[name] += kl
    return {name: kl.numpy() for name, kl in total.items()}


def product_kl(case: str, options: dict, steps: int, count: int, version: str) -> dict[str, np.ndarray]:
    """What the product's own noise adds to the negentropy along a path of so many steps, (count,).

    ``case``: the name of a covariance that is diagonal in a known basis, "full" (K = d Lanczos steps: linear
    in z) or "lanczos" (fewer: not linear). ``kl`` by `evidence.report.laws`; ``error`` is the largest relative
    error of a noise on the path, measured against what the structure gives exactly.
    """
    model, options = mixture.separated_mixture(), lgs.Options(jvp="forward", **options)
    clean, eps = starts(model, count, 0)
    generator = torch.Generator().manual_seed(1)
    kl, error = torch.zeros(2, count, dtype=torch.float64)
    for sigma, sigma_next in itertools.pairwise(log_spaced(steps)):
        x, z = clean + sigma * eps, torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        exact = model.reverse_covariance(x, sigma, sigma_next)

        def noise(x: Tensor, z: Tensor, step=(sigma, sigma_next)) -> Tensor:
            return lgs.reverse_noise(model.denoised, x, *step, z, options)

        drawn = noise(x, z)
        if case in ("full", "lanczos"):
            values, vectors = torch.linalg.eigh(exact)
            ideal = (vectors @ (values.sqrt()[:, :, None] * (vectors.mT @ z[:, :, None])))[:, :, 0]
        else:
            basis = basis_of(case, model.dimension)
            ideal = z @ basis.T * simplified(case, exact, sigma, sigma_next).sqrt() @ basis
        if case == "full":
            kl += laws.kl_to_linear(noise, x, exact)
        elif case == "lanczos":
            kl += laws.kl_of_homogeneous(noise, x, z, exact)
        else:
            kl += laws.kl_to_diagonal(drawn, z, exact, basis)
        error = torch.maximum(error, (drawn - ideal).norm(dim=1) / ideal.norm(dim=1))
    return {"kl": kl.numpy(), "error": error.numpy()}
