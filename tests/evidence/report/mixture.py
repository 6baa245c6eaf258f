"""A mixture of Gaussians that share a covariance: a diffusion model of which everything is known.

x_0 ~ sum_k w_k N(m_k, C) and x_t = x_0 + sigma_t eps (variance exploding), so that x_t is the mixture of
N(m_k, C_t), C_t = C + sigma_t^2 I. The posterior mean with its derivatives, the class posterior and the
exact reverse kernel q(x_s | x_t) follow from Bayes' rule for Gaussians (Bishop, Pattern Recognition and
Machine Learning, equations 2.113 to 2.117); so does how far that kernel is from any Gaussian, up to an
integral in as many dimensions as the means span. Everything is float64.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import numpy as np
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Weights (k,) that sum to 1, means (k, d), covariance (d, d), symmetric and positive definite.

    Wherever ``sigma`` is asked for, one number does for all of the batch, and so does one for each item.
    Raises ValueError for parameters that are no such mixture.
    """

    weights: Tensor
    means: Tensor
    covariance: Tensor

    def __post_init__(self):
        k, d = len(self.weights), len(self.covariance)
        shapes = [tuple(t.shape) for t in (self.weights, self.means, self.covariance)]
        if shapes != [(k,), (k, d), (d, d)]:
            raise ValueError(f"expected weights (k,), means (k, d) and a covariance (d, d), got {shapes}")
        if not ((self.weights > 0).all() and abs(self.weights.sum().item() - 1) < 1e-12):
            raise ValueError(f"weights: expected positive numbers that sum to 1, got {self.weights.tolist()}")
        if not self.covariance.equal(self.covariance.T) or not self._basis[0][0] > 0:
            raise ValueError("covariance: expected a symmetric, positive definite matrix")

    @functools.cached_property
    def _basis(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of C, in which every C_t is diagonal."""
        return torch.linalg.eigh(self.covariance)

    @property
    def dimension(self) -> int:
        return len(self.covariance)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Exact samples of x_0 (count, d) and the components (count,) that they are from."""
        label = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        return self.draw_of(label, generator), label

    def draw_of(self, label: Tensor, generator: torch.Generator) -> Tensor:
        """Exact samples of x_0 (count, d), each from the component that ``label`` (count,) names."""
        values, vectors = self._basis
        normal = torch.randn(len(label), self.dimension, generator=generator, dtype=torch.float64)
        return self.means[label] + normal * values.sqrt() @ vectors.T

    def class_posterior(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """p(k | x_t = x), (batch, k), for x (batch, d)."""
        return self._log_joint(x, sigma).softmax(dim=-1)

    def class_gradient(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """The gradient of log p(k | x_t = x) in x, (batch, k, d): C_t^-1 (m_k - sum_j p(j | x) m_j)."""
        centre = self.class_posterior(x, sigma) @ self.means
        return self._in_basis(lambda lam, s2: 1 / (lam + s2), self.means - centre[:, None], sigma)

    def denoised(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """D(x, sigma) = E[x_0 | x_t = x], (batch, d): what `lgs.sample` calls ``denoise``."""
        centre = self.class_posterior(x, sigma) @ self.means
        return centre + self._in_basis(lambda lam, s2: lam / (lam + s2), x - centre, sigma)

    def posterior_covariance(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Cov[x_0 | x_t = x] = sigma^2 dD/dx, (batch, d, d), by the law of total covariance over the component."""
        p = self.class_posterior(x, sigma)
        # E[x_0 | x, k] = C C_t^-1 x + sigma^2 C_t^-1 m_k.
        means = self._in_basis(lambda lam, s2: s2 / (lam + s2), self.means.expand(len(x), -1, -1), sigma)
        return self.covariance_in_class(sigma) + covariance_of(p, means)

    def covariance_in_class(self, sigma: Tensor | float) -> Tensor:
        """Cov[x_0 | x_t, k] = sigma^2 C C_t^-1, the same for every x_t and component: (batch, d, d), or (1, d, d)."""
        squared = torch.as_tensor(sigma, dtype=torch.float64).square().reshape(-1, 1, 1)
        values, vectors = self._basis
        return vectors * (values * squared / (values + squared)) @ vectors.T

    def reverse_covariance(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """Cov[x_s | x_t = x] of a DDPM step (eta = 1), (batch, d, d): v I + B^2 Cov[x_0 | x_t = x]."""
        v, b = reverse_coefficients(sigma, sigma_next)
        eye = torch.eye(self.dimension, dtype=torch.float64)
        return v * eye + b**2 * self.posterior_covariance(x, sigma)

    def reverse_mean(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """E[x_s | x_t = x], (batch, d): A x + B D(x), A = 1 - B."""
        _, b = reverse_coefficients(sigma, sigma_next)
        return x + b * (self.denoised(x, sigma) - x)

    def reverse(self, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor, Tensor]:
        """q(x_s | x_t = x), itself a mixture: weights (batch, k), means (batch, k, d), one covariance (d, d)."""
        gap = sigma**2 - sigma_next**2
        away = x[:, None] - self.means
        means = x[:, None] - self._in_basis(lambda lam, s2: gap / (lam + s2), away, sigma)
        values, vectors = self._basis
        spread = gap * (values + sigma_next**2) / (values + sigma**2)
        return self.class_posterior(x, sigma), means, vectors * spread @ vectors.T

    def whitened_means(self, sigma: float, sigma_next: float) -> Tensor:
        """The means of q(x_s | x_t), (k, k - 1), where its components have covariance I, up to a shift and a rotation.

        They are sqrt(sigma_t^2 - sigma_s^2) (C_s C_t)^(-1/2) m_k plus what depends on x_t alone: only the
        weights of the components depend on x_t.
        """
        values, vectors = self._basis
        gap = sigma**2 - sigma_next**2
        means = self.means @ vectors * (gap / (values + sigma**2) / (values + sigma_next**2)).sqrt()
        apart = means - means.mean(dim=0)
        return apart @ torch.linalg.svd(apart, full_matrices=False).Vh[: len(self.weights) - 1].T

    def negentropy(self, x: Tensor, sigma: float, sigma_next: float, order: int) -> Tensor:
        """KL(q(x_s | x_t = x) || the Gaussian of its mean and covariance), (batch,), in nats.

        With y the whitened x_s, M the covariance of its components' means and I(k; y) the mutual
        information of component and y, it is log det(I + M) / 2 - I(k; y). The mutual information,
        sum_k p_k E_xi[-log sum_j p_j exp((mu_j - mu_k).xi - |mu_j - mu_k|^2 / 2)], xi ~ N(0, I), is
        integrated by Gauss-Hermite quadrature with ``order`` nodes in each of the k - 1 dimensions;
        `quadrature_order` finds how many are needed.
        """
        p = self.class_posterior(x, sigma)
        mu = self.whitened_means(sigma, sigma_next)
        nodes, weights = _hermite(order, mu.shape[1])
        information = torch.zeros(len(x), dtype=torch.float64)
        for component, centre in enumerate(mu):
            ratios = (nodes @ (mu - centre).T - (mu - centre).square().sum(dim=1) / 2).exp()
            # No ratio is 0 / 0: a component that x rules out altogether has no part in either sum.
            mixed = (p @ ratios.T).clamp_min(torch.finfo(torch.float64).tiny)
            information -= p[:, component] * (mixed.log() @ weights)
        eye = torch.eye(mu.shape[1], dtype=torch.float64)
        return torch.logdet(eye + covariance_of(p, mu.expand(len(x), -1, -1))) / 2 - information

    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        """Of x (batch, d), data with noise, (batch,), in nats."""
        values, _ = self._basis
        volume = (2 * math.pi * (values + sigma**2)).log().sum() / 2
        return self._log_joint(x, sigma).logsumexp(dim=-1) - volume

    def _log_joint(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """log of w_k N(x; m_k, C_t), (batch, k), up to what does not depend on k."""
        away = self._in_basis(lambda lam, s2: (lam + s2).rsqrt(), x[:, None] - self.means, sigma)
        return self.weights.log() - away.square().sum(dim=-1) / 2

    def _in_basis(self, function, v: Tensor, sigma: Tensor | float) -> Tensor:
        """f(C, sigma^2) v along the last axis of v (batch, ..., d)."""
        values, vectors = self._basis
        squared = torch.as_tensor(sigma, dtype=torch.float64).square().reshape(-1, *[1] * (v.ndim - 1))
        return v @ vectors * function(values, squared) @ vectors.T


def separated_mixture(smallest: float = 0.2) -> Mixture:
    """The mixture of the report: d = 8, four components 3 apart, eigenvalues of C from 1 to ``smallest``.

    Eigenvectors and means point in directions drawn at random, so that no basis is favoured: C is far
    from diagonal in the coordinates and in their cosine transform. The components are a regular simplex. With
    the default they are 4 to 6 of their own standard deviations apart, and 97 % of samples belong to the
    component that is the most probable for them: distinct, but no further, as it takes the more steps until the
    path KL falls as it does in the limit, the further they are apart.
    """
    generator = torch.Generator().manual_seed(0)
    d, k, apart = 8, 4, 3.0
    vectors, directions = (
        torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q for _ in range(2)
    )
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    means = directions[:, :k].T * apart / math.sqrt(2)
    covariance = vectors * torch.logspace(0, math.log10(smallest), d, dtype=torch.float64) @ vectors.T
    return Mixture(weights, means - weights @ means, (covariance + covariance.T) / 2)


def reverse_coefficients(sigma: float, sigma_next: float) -> tuple[float, float]:
    """v and B of a DDPM step (eta = 1) of the variance-exploding process: `Mixture.reverse_mean` and `_covariance`."""
    gap = sigma**2 - sigma_next**2
    return sigma_next**2 * gap / sigma**2, gap / sigma**2


def covariance_of(p: Tensor, points: Tensor) -> Tensor:
    """The covariance (batch, d, d) of points (batch, k, d) that are taken with probabilities p (batch, k)."""
    away = points - (p[:, None] @ points)
    return away.mT @ (p[:, :, None] * away)


def quadrature_order(mixture: Mixture, x: Tensor, sigma: float, sigma_next: float, tolerance: float = 1e-4) -> int:
    """The least order of a rising sequence at which the mean of `Mixture.negentropy` over x (batch, d) stands still.

    It stands still when the next order changes it by no more than ``tolerance`` of itself. Raises
    ArithmeticError if no order up to 48 does.
    """
    orders = (6, 8, 12, 16, 24, 32, 48)
    found = (mixture.negentropy(x, sigma, sigma_next, order).mean().item() for order in orders)
    for (low, high), order in zip(itertools.pairwise(found), orders[:-1], strict=True):
        if abs(high - low) <= tolerance * abs(high):
            return order
    raise ArithmeticError(
        f"Gauss-Hermite quadrature does not settle to {tolerance:g} by order {orders[-1]} for the step {sigma:g} to "
        f"{sigma_next:g}: its components are too far apart, take smaller steps"
    )


@functools.cache
def _hermite(order: int, dimension: int) -> tuple[Tensor, Tensor]:
    """Nodes (order^dimension, dimension) and weights of the expectation over N(0, I), a product rule."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    grid = torch.cartesian_prod(*[torch.from_numpy(nodes)] * dimension).reshape(-1, dimension)
    products = torch.cartesian_prod(*[torch.from_numpy(weights / weights.sum())] * dimension)
    return grid, products.reshape(-1, dimension).prod(dim=1)
