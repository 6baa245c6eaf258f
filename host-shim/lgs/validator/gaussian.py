"""A model of which everything is known: data from a Gaussian with a dense covariance."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

BATCH, D = 2, 6
SIGMAS = (2.0, 0.8, 0.2, 0.0)


def _covariance() -> Tensor:
    root = torch.randn(D, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return root @ root.mT / D + 0.05 * torch.eye(D, dtype=torch.float64)


@dataclass
class GaussianModel:
    """x_0 ~ N(0, C): D(x, sigma) = J x, J = C (C + sigma^2)^-1."""

    covariance: Tensor = field(default_factory=_covariance)

    def jacobian(self, sigma: float) -> Tensor:
        return torch.linalg.solve(self.covariance + sigma**2 * torch.eye(D, dtype=torch.float64), self.covariance)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        # One matrix an item: items may be at several levels.
        several = torch.stack([self.jacobian(level).to(x.dtype) for level in sigma.double().tolist()])
        return torch.einsum("bij,bj->bi", several, x)

    def diagonal(self, x: Tensor, sigma: Tensor) -> Tensor:
        return torch.stack([self.jacobian(level).diagonal() for level in sigma.double().tolist()]).to(x.dtype)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def noise_of(dtype: torch.dtype = torch.float64):
    """Noise that depends on the levels of its step alone."""
    return lambda sigma, sigma_next: normal(BATCH, D, seed=int(1000 * sigma) + 7, dtype=dtype)
