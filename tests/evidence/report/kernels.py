"""The reverse kernels of the product's covariances on a mixture of Gaussians, and their KL from the exact ones.

All have the exact mean, so that the KL of each is the negentropy of q(x_s | x_t), which no Gaussian kernel can
avoid (`evidence.report.mixture`), and the KL between two Gaussians of one mean (`evidence.report.laws`).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor

from . import laws, mixture

SIGMA_MAX, SIGMA_MIN = 20.0, 0.05
NAMES = ("isotropic", "isotropic-large", "isotropic-optimal", "spectral", "diagonal", "full")


def log_spaced(steps: int) -> list[float]:
    """``steps`` + 1 noise levels from SIGMA_MAX to SIGMA_MIN, each the same part of the one before."""
    return np.geomspace(SIGMA_MAX, SIGMA_MIN, steps + 1).tolist()


def basis_of(name: str, d: int) -> Tensor:
    """The basis, rows of a (d, d), in which a covariance of the product is diagonal."""
    if name == "spectral":
        return torch.from_numpy(dct(np.eye(d), axis=0, norm="ortho"))
    return torch.eye(d, dtype=torch.float64)


def simplified(name: str, exact: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """The variances, (batch, d), in `basis_of` the covariance of that name, for the exact Sigma (batch, d, d).

    Those that the product estimates from probes are what infinitely many of them come to.
    """
    basis = basis_of(name, exact.shape[-1])
    shown = (basis @ exact @ basis.T).diagonal(dim1=-2, dim2=-1)
    match name:
        case "isotropic":
            v, _ = mixture.reverse_coefficients(sigma, sigma_next)
            return torch.full_like(shown, v)
        case "isotropic-large":
            return torch.full_like(shown, sigma**2 - sigma_next**2)
        case "isotropic-optimal":
            return shown.mean(dim=-1, keepdim=True).expand_as(shown)
        case "spectral":  # one variance for each octave of frequencies, as in the engine
            octave = torch.arange(1, shown.shape[-1] + 1).log2().long()
            alike = (octave[:, None] == octave).double()
            return shown @ (alike / alike.sum(dim=0))
        case "diagonal":
            return shown
    raise ValueError(f"expected a covariance that is diagonal in a known basis, got {name!r}")


def step_kl(
    model: mixture.Mixture, x: Tensor, sigma: float, sigma_next: float, order: int | None = None
) -> dict[str, Tensor]:
    """KL(q(x_s | x_t = x) || N(mean, Sigma)), (batch,), for each covariance.

    ``order`` of the quadrature: see `Mixture.negentropy`; by default what the first 50 items need.
    """
    if order is None:
        order = mixture.quadrature_order(model, x[:50], sigma, sigma_next)
    negentropy = model.negentropy(x, sigma, sigma_next, order)
    exact = model.reverse_covariance(x, sigma, sigma_next)
    kl = {"full": negentropy}
    for name in NAMES[:-1]:
        variances = simplified(name, exact, sigma, sigma_next)
        kl[name] = negentropy + laws.gaussian_kl(exact, basis_of(name, model.dimension), variances)
    return kl


def starts(model: mixture.Mixture, count: int, block: int) -> tuple[Tensor, Tensor]:
    """x_0 and eps (count, d) of a block of paths: x_t = x_0 + sigma_t eps, at every level of every schedule."""
    generator = torch.Generator().manual_seed(block)
    clean, _ = model.draw(count, generator)
    return clean, torch.randn(clean.shape, generator=generator, dtype=torch.float64)
