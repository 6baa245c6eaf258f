"""Stochastic Lanczos quadrature: z' f(A) z and tr f(A) of a symmetric A that is known by its products.

Ubaru, Chen and Saad, "Fast Estimation of tr(f(A)) via Stochastic Lanczos Quadrature" (SIAM J. Matrix
Anal. Appl. 38, 2017); Golub and Meurant, "Matrices, Moments and Quadrature with Applications" (2010).
K Lanczos steps from z give a tridiagonal T = W diag(theta) W', and

    z' f(A) z  ~  |z|^2 sum_k w_1k^2 f(theta_k),

a Gauss rule: exact for polynomials up to degree 2 K - 1, so that it converges as fast as polynomials
approach f: geometrically in K where f is analytic, like 1 / K^2 where f has a kink among the eigenvalues.
Over random z with independent entries +-1 the expectation of z' f(A) z is tr f(A).

There is such a rule in linear_operator (GPyTorch's), and it would not do: it takes a negative Ritz value
for rounding and puts 1 in its place, where ours come from the network and are to be clamped at 0; and
its recursion divides by zero for the items of a batch whose Krylov space is exhausted before others'.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable

import torch
from torch import Tensor

Matvec = Callable[[Tensor], Tensor]
"""v (batch, d) -> A v (batch, d), with another A for each item of the batch."""


@dataclasses.dataclass(frozen=True)
class GaussRule:
    """Nodes and weights (..., batch, K), float64: z' f(A) z ~ sum_k weights_k f(nodes_k)."""

    nodes: Tensor
    """Ritz values of A."""
    weights: Tensor
    """Not negative; they add up to |z|^2."""

    def integral(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """z' f(A) z of each item, (..., batch), for f elementwise."""
        return (self.weights * function(self.nodes)).sum(dim=-1)


def gauss_rule(matvec: Matvec, z: Tensor, steps: int) -> GaussRule:
    """The rule of K = `steps` products with a symmetric A, from z (batch, d), in z's precision.

    Fully orthogonalised, twice (Parlett, "The Symmetric Eigenvalue Problem", 1998, section 6.9). Of
    an A that is not symmetric, T would be some symmetric matrix made of the lower part of its Arnoldi
    matrix: hand in the products of the symmetric part.
    """
    if z.ndim != 2 or not z.is_floating_point():
        raise ValueError(f"z: expected floating point numbers (batch, d), got {z.dtype} {tuple(z.shape)}")
    if operator.index(steps) < 1:
        raise ValueError(f"steps: expected at least one product, got {steps}")
    norm = z.norm(dim=1)
    basis = [z / norm.clamp_min(torch.finfo(z.dtype).tiny)[:, None]]
    alphas, betas, scale = [], [], torch.zeros_like(norm)
    # Below this, relative to A, what is left of a product is its rounding error.
    negligible = 8 * z.shape[1] ** 0.5 * torch.finfo(z.dtype).eps
    for _ in range(steps):
        w = matvec(basis[-1])
        if w.shape != z.shape or not w.isfinite().all():
            raise ValueError(
                f"matvec: expected finite numbers {tuple(z.shape)}, got {tuple(w.shape)} or NaN or infinity"
            )
        alphas.append((basis[-1] * w).sum(dim=1))
        scale = torch.maximum(scale, w.norm(dim=1))
        seen = torch.stack(basis, dim=1)
        for _ in range(2):
            w = w - ((seen @ w[:, :, None]).mT @ seen)[:, 0]
        beta = w.norm(dim=1)
        betas.append(torch.where(beta > negligible * scale, beta, 0.0))
        basis.append(torch.where(betas[-1] > 0, 1 / beta, 0.0)[:, None] * w)
    a, b = torch.stack(alphas, dim=1).double(), torch.stack(betas, dim=1).double()[:, :-1]
    # Behind the end of a Krylov space nodes have no weight; put where f has a value, among A's eigenvalues.
    ended = torch.nn.functional.pad((b == 0).cumsum(dim=1) > 0, (1, 0))
    a = torch.where(ended, a[:, :1], a)
    # Of T, eigh reads what is on and below the diagonal.
    nodes, vectors = torch.linalg.eigh(torch.diag_embed(a) + torch.diag_embed(b, offset=-1))
    return GaussRule(nodes, norm.double()[:, None] ** 2 * vectors[:, 0] ** 2)


def rademacher(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Probes (count, *like.shape) of independent +-1: their expectation of z z' is the identity."""
    return torch.randint(2, (count, *like.shape), generator=generator).to(like) * 2 - 1


def trace_rule(matvec: Matvec, probes: Tensor, steps: int) -> GaussRule:
    """A rule for tr f(A) from each of the probes (n, batch, d): its integrals are (n, batch).

    Their mean over n is the estimate, and its standard error that of a mean; what the rule itself is
    wrong by, `steps` being finite, does not show in it.
    """
    rules = [gauss_rule(matvec, z, steps) for z in probes]
    return GaussRule(torch.stack([rule.nodes for rule in rules]), torch.stack([rule.weights for rule in rules]))
