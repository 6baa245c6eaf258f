"""Data that are exactly Gaussian, whose posterior mean and covariances are known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor


class Gaussian:
    """x_0 ~ N(0, C) with eigenvalues lambda_k proportional to k^-power, scaled to mean 0.25.

    ``denoiser(process)`` is the exact D(x, sigma) for x (batch, d); it needs sigma equal in the
    batch. Everything is float64 unless ``dtype`` says otherwise. ``rotated``: random eigenvectors
    (else the axes).
    """

    def __init__(self, d: int, power: float, *, rotated: bool = True, seed: int = 0, dtype=torch.float64):
        k = torch.arange(1, d + 1, dtype=torch.float64)
        spectrum = k**-power
        self.eigenvalues = spectrum / spectrum.mean() * 0.25
        generator = torch.Generator().manual_seed(seed)
        if rotated:
            normal = torch.randn(d, d, generator=generator, dtype=torch.float64)
            self.vectors = torch.linalg.qr(normal)[0]
        else:
            self.vectors = None
        self.dtype = dtype

    def apply(self, function, x: Tensor) -> Tensor:
        """f(C) x for each row of x (batch, d), f a function of the eigenvalues."""
        values = function(self.eigenvalues)
        if self.vectors is None:
            return x * values.to(x.dtype)
        return (x @ self.vectors.to(x.dtype)) * values.to(x.dtype) @ self.vectors.to(x.dtype).T

    def denoiser(self, process: str = "ve"):
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            level = sigma[0].double().item()
            alpha = alpha_of(process, level)
            return self.apply(lambda lam: alpha * lam / (alpha**2 * lam + level**2), x)

        return denoise

    def reverse_noise(self, process: str, sigma: float, sigma_next: float, eta: float, z: Tensor) -> Tensor:
        """Sigma^(1/2) z of the step, by the eigenvectors."""
        variance = self.reverse_variance(process, sigma, sigma_next, eta)
        return self.apply(lambda _: variance.sqrt(), z)

    def reverse_variance(self, process: str, sigma: float, sigma_next: float, eta: float) -> Tensor:
        """Eigenvalues of Cov[x_s | x_t] under the kernel with ``eta``: the law of total covariance over
        x_0, x_s | x_t, x_0 ~ N(alpha_s x_0 + A (x_t - alpha_t x_0), eta^2 v I)."""
        alpha_t, alpha_s = alpha_of(process, sigma), alpha_of(process, sigma_next)
        alpha_ts = alpha_t / alpha_s
        v = (sigma**2 - alpha_ts**2 * sigma_next**2) * sigma_next**2 / sigma**2
        a = (sigma_next**2 - eta**2 * v) ** 0.5 / sigma
        b = alpha_s - alpha_t * a
        posterior = self.eigenvalues * sigma**2 / (alpha_t**2 * self.eigenvalues + sigma**2)
        return eta**2 * v + b**2 * posterior


def alpha_of(process: str, sigma: float) -> float:
    return {"ve": 1.0, "flow": 1.0 - sigma}[process]


def relative_error(value: Tensor, reference: Tensor) -> float:
    """The largest relative error of any row."""
    difference = (value - reference).flatten(1).norm(dim=1)
    return (difference / reference.flatten(1).norm(dim=1)).max().item()


def ddpm_sigmas(steps: int) -> Tensor:
    """DDPM's 1000-step linear-beta schedule as sigma = sqrt((1 - abar) / abar), `steps` of it, then 0."""
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    chosen = torch.linspace(999, 0, steps, dtype=torch.float64).round().long()
    return torch.cat([((1 - abar) / abar).sqrt()[chosen], torch.zeros(1, dtype=torch.float64)])
