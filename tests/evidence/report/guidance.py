"""The guided reverse step of the product's covariances, on a mixture of Gaussians with its components as classes.

A guided step adds Sigma grad log p(y | x) to the mean, with the Sigma that its noise has (Dhariwal and
Nichol, arXiv 2105.05233, equation 10). Ways of doing so:

    mean       the gradient at the step's mean and noise level sigma_s, as equation 10 has it
    point      the gradient at x_t and sigma_t, as the paper's algorithm 1 and most code have it
    denoiser   D + sigma_t^2 grad log p(y | x_t) is the posterior mean given the class (Tweedie): the chain of
               that denoiser; the covariance is its own, given the class
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

import lgs

from . import kernels, mixture
from .mixture import Mixture, reverse_coefficients

WAYS = ("mean", "point", "denoiser")
LANCZOS_STEPS = {"full, K = 1": 1, "full, K = 3": 3}
NAMES = ("isotropic", "isotropic-optimal", "diagonal", *LANCZOS_STEPS)


def evaluations_of_a_step(way: str, name: str) -> int:
    """One for D, one for each Lanczos step and, where Sigma is applied to the gradient, one for that product.

    The trace and the diagonal count as known, as if a network had learnt them. The classifier is not counted:
    it is evaluated once a step, whatever the covariance.
    """
    if name not in LANCZOS_STEPS:
        return 1
    return 1 + LANCZOS_STEPS[name] + (way != "denoiser")


def guided_denoiser(model: Mixture, label: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """E[x_0 | x, y] = D(x) + sigma^2 grad log p(y | x) for the class that ``label`` names for each item."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return model.denoised(x, sigma) + sigma[:, None] ** 2 * gradient(model, x, sigma, label)

    return denoise


def gradient(model: Mixture, x: Tensor, sigma: Tensor | float, label: Tensor) -> Tensor:
    """grad log p(label | x), (batch, d)."""
    return model.class_gradient(x, sigma)[torch.arange(len(x)), label]


def known_diagonal(model: Mixture, name: str, way: str, label: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The diagonal of the Jacobian of the chain's denoiser, or its mean: what a perfect network would have learnt."""

    def diagonal(x: Tensor, sigma: Tensor) -> Tensor:
        if way == "denoiser":
            covariance = model.covariance_in_class(sigma)
        else:
            covariance = model.posterior_covariance(x, sigma)
        shown = covariance.diagonal(dim1=-2, dim2=-1) / sigma[:, None] ** 2
        return shown if name == "diagonal" else shown.mean(dim=1, keepdim=True).expand_as(x)

    return diagonal


class Chain:
    """The product's pieces of a reverse step, for one of NAMES and one of WAYS; ``label`` (batch,) names classes."""

    def __init__(self, model: Mixture, name: str, way: str, label: Tensor):
        if name not in NAMES or way not in WAYS:
            raise ValueError(f"expected one of {NAMES} and one of {WAYS}, got {name!r} and {way!r}")
        self.model, self.way, self.label = model, way, label
        self.denoise = guided_denoiser(model, label) if way == "denoiser" else model.denoised
        self.diagonal = None
        if name in LANCZOS_STEPS:
            self.options = lgs.Options(lanczos_steps=LANCZOS_STEPS[name], jvp="forward")
        elif name == "isotropic":
            self.options = lgs.Options(covariance="isotropic")
        else:
            self.options = lgs.Options(covariance="diagonal-learned")
            self.diagonal = known_diagonal(model, name, way, label)
        self.linear = name not in LANCZOS_STEPS

    def step(self, x: Tensor, sigma: float, sigma_next: float, z: Tensor) -> Tensor:
        """A draw of x at ``sigma_next``, guided, from x (batch, d) at ``sigma`` and standard normal z."""
        level = torch.full((len(x),), sigma, dtype=x.dtype)
        _, b = reverse_coefficients(sigma, sigma_next)
        mean = x + b * (self.denoise(x, level) - x)
        moved = mean + self.noise(x, sigma, sigma_next, z)
        if self.way == "denoiser":
            return moved
        at = (mean, sigma_next) if self.way == "mean" else (x, sigma)
        return moved + self.apply(x, sigma, sigma_next, gradient(self.model, *at, self.label))

    def noise(self, x: Tensor, sigma: float, sigma_next: float, z: Tensor) -> Tensor:
        return lgs.reverse_noise(self.denoise, x, sigma, sigma_next, z, self.options, diagonal=self.diagonal)

    def apply(self, x: Tensor, sigma: float, sigma_next: float, g: Tensor) -> Tensor:
        """Sigma g, Sigma the covariance of the noise."""
        if self.linear:
            # The square root is diagonal and does not depend on z: twice the root is the whole.
            return self.noise(x, sigma, sigma_next, self.noise(x, sigma, sigma_next, g))
        v, b = reverse_coefficients(sigma, sigma_next)
        _, product = lgs.jvp(self.denoise, x, sigma, g, self.options)
        return v * g + b**2 * sigma**2 * product


def frechet_distance(samples: Tensor, mean: Tensor, covariance: Tensor) -> float:
    """Squared Frechet (Wasserstein-2) distance of the Gaussian with the samples' (n, d) moments from another.

    |m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2), Dowson and Landau 1982.
    """
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.sqrt() @ vectors.T
    found = samples.T.cov()
    cross = torch.linalg.eigvalsh(root @ found @ root).clamp_min(0).sqrt().sum()
    away = (samples.mean(dim=0) - mean).square().sum()
    return (away + found.trace() + covariance.trace() - 2 * cross).item()


def figures_of(model: Mixture, x: Tensor, label: Tensor, sigma: float) -> dict[str, float]:
    """``share``: items whose class is the most probable one; ``frechet``: distance to its law, a mean over classes."""
    read = model.class_posterior(x, sigma).argmax(dim=1)
    law = model.covariance + sigma**2 * torch.eye(model.dimension, dtype=torch.float64)
    distances = [frechet_distance(x[label == k], model.means[k], law) for k in label.unique()]
    return {"share": (read == label).double().mean().item(), "frechet": sum(distances) / len(distances)}


def noised(model: Mixture, label: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Exact samples of p(x | y) at a noise level."""
    clean = model.draw_of(label, generator)
    return clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


def guided_figures(name: str, way: str, steps: int, each: int, seed: int, version: str) -> dict[str, float]:
    """`figures_of` a guided chain, ``each`` items of every class, from exact samples given the class at SIGMA_MAX."""
    model, generator = mixture.separated_mixture(), torch.Generator().manual_seed(seed)
    label = torch.arange(len(model.weights)).repeat(each)
    x = noised(model, label, kernels.SIGMA_MAX, generator)
    chain = Chain(model, name, way, label)
    for sigma, sigma_next in itertools.pairwise(kernels.log_spaced(steps)):
        x = chain.step(x, sigma, sigma_next, torch.randn(x.shape, generator=generator, dtype=torch.float64))
    return figures_of(model, x, label, kernels.SIGMA_MIN)


def exact_figures(each: int, seed: int, version: str) -> dict[str, float]:
    """`figures_of` exact samples: what a perfect sampler would get."""
    model, generator = mixture.separated_mixture(), torch.Generator().manual_seed(seed)
    label = torch.arange(len(model.weights)).repeat(each)
    return figures_of(model, noised(model, label, kernels.SIGMA_MIN, generator), label, kernels.SIGMA_MIN)
