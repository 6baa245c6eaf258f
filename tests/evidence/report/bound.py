"""The terms of the likelihood bound of pictures with each covariance of the reverse kernels.

    bound = sum over t of E KL(q(x_s | x_t, x_0) || N(mean, Sigma)) + KL(q(x_T | x_0) || N(0, sigma_T^2 I))
            + E[-log p(x_0 | x_1)]

(Ho et al., arXiv 2006.11239, equation 5). x_t = x_0 + sigma_t noise, eta = 1: q(x_s | x_t, x_0) is
N((1 - B) x_t + B x_0, v I) and mean = (1 - B) x_t + B D(x_t), so that with e = B (x_0 - D) a step costs

    KL = [v tr Sigma^-1 - d + log det Sigma - d log v + e' Sigma^-1 e] / 2.

The full Sigma is v I + c max((J + J') / 2, 0). A covariance is symmetric and a trained network's J is not:
its symmetric part is taken, which makes this the bound of a model that is well defined, and not to be
confused with the sampler's K products with J itself. Negative eigenvalues are clamped as they are there.
Traces are had by stochastic Lanczos quadrature, without bias but for the number of steps, and the quadratic
form by a rule that starts from e.

Pictures have 256 levels. p(x_0 | x_1) integrates N(D, sigma_1^2 I) over the bin of each pixel, the outer
ones being open (equation 13 there). It is the same whatever the covariance of the steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import scipy.fft
import torch
from torch import Tensor

from .mixture import reverse_coefficients
from .quadrature import GaussRule, gauss_rule, rademacher, trace_rule

Product = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Jacobian:
    """What is used of J = dD/dx at each item of a batch, as products with v (batch, d)."""

    transposed: Product
    """J' v."""
    symmetrised: Product
    """(J v + J' v) / 2."""


def kernel(sigma: float, sigma_next: float) -> tuple[float, float, float]:
    """B, v and c of a step at eta = 1: mean (1 - B) x + B D(x), covariance v I + c J."""
    v, b = reverse_coefficients(sigma, sigma_next)
    return b, v, b**2 * sigma**2


def linearised(denoise: Callable, x: Tensor, sigma: float) -> tuple[Tensor, Jacobian]:
    """D(x), the shape of x (batch, ...), and its Jacobian."""
    point = x.detach().clone().requires_grad_()
    denoised = denoise(point, x.new_full((len(x),), sigma))
    # J v is the derivative in u of J' u, which is linear in u: no forward mode, and a third of its cost.
    u = torch.zeros_like(denoised, requires_grad=True)
    (image,) = torch.autograd.grad(denoised, point, u, create_graph=True)

    def transposed(v: Tensor) -> Tensor:
        return torch.autograd.grad(denoised, point, v.view_as(x), retain_graph=True)[0].flatten(1)

    def symmetrised(v: Tensor) -> Tensor:
        (product,) = torch.autograd.grad(image, u, v.view_as(x), retain_graph=True)
        return (product.flatten(1) + transposed(v)) / 2

    return denoised.detach(), Jacobian(transposed, symmetrised)


TILE = 8
"""The largest edge of a tile of the product's covariance "spectral" (``plugin/engine/src/linear/bases.rs``)."""


def tiled(images: Tensor) -> Tensor:
    """Images (..., height, width) as (..., rows, y, columns, x), y and x within a tile."""
    y, x = (next(edge for edge in range(TILE, 0, -1) if size % edge == 0) for size in images.shape[-2:])
    return images.unflatten(-1, (-1, x)).unflatten(-3, (-1, y))


def spectrum(images: Tensor) -> Tensor:
    """Orthonormal two-dimensional DCT-II of each tile of images (..., height, width), in its place."""
    transformed = scipy.fft.dctn(tiled(images).numpy(), axes=(-3, -1), norm="ortho")
    return torch.from_numpy(transformed).reshape(images.shape)


def octave_means(frequencies: Tensor) -> Tensor:
    """The mean over each octave of frequencies of each tile, for what `spectrum` gives."""
    tiles = tiled(frequencies)
    y, x = (torch.arange(edge) * TILE / edge for edge in (tiles.shape[-3], tiles.shape[-1]))
    octave = torch.hypot(y[:, None], x).add(1).log2().long().flatten()
    alike = (octave[:, None] == octave).to(tiles.dtype)
    means = tiles.movedim(-3, -2).flatten(-2) @ (alike / alike.sum(dim=0))
    return means.unflatten(-1, (len(y), len(x))).movedim(-2, -3).reshape(frequencies.shape)


def diagonals(transposed: Product, probes: Tensor) -> tuple[Tensor, Tensor]:
    """diag J and the octaves of diag C J C', C the DCT of tiles, each (batch, d).

    Means over probes (n, batch, channels, height, width): Bekas, Kokiopoulou and Saad, "An estimator for the
    diagonal of a matrix" (2007). J' has J's diagonal.
    """
    pixels = frequencies = torch.zeros(())
    for z in probes:
        product = transposed(z.flatten(1)).view_as(z)
        pixels = pixels + z * product / len(probes)
        frequencies = frequencies + spectrum(z) * spectrum(product) / len(probes)
    return pixels.flatten(1), octave_means(frequencies).flatten(1)


class Cost(NamedTuple):
    """What a step's covariance costs at each item of a batch, (batch,)."""

    kl: Tensor
    """KL to the step's posterior given x_0, in nats."""
    fit: Tensor
    """(v tr Sigma^-1 + e' Sigma^-1 e) / d. On average 1, if Sigma is as large as it should be; above 1, too small."""


def diagonal_cost(v: float, e: Tensor, variances: Tensor) -> Cost:
    """Where Sigma is diag(variances), (batch, d), in the basis of e (batch, d)."""
    e, variances = e.double(), variances.double()
    distance = (v + e**2) / variances
    return Cost((distance - 1 + (variances / v).log()).sum(dim=1) / 2, distance.mean(dim=1))


def full_cost(v: float, c: float, dimension: int, trace: GaussRule, quadratic: GaussRule) -> Cost:
    """Where Sigma = v I + c max(A, 0): rules of A from probes (n, batch), and from e (batch). The kl is (n, batch)."""
    distance = quadratic.integral(lambda theta: 1 / (v + c * theta.clamp_min(0)))
    # Their sums, not v tr Sigma^-1 and log det Sigma by themselves: most of the probes' noise cancels.
    excess = trace.integral(lambda theta: 1 / (1 + c / v * theta.clamp_min(0)) - 1)
    volume = trace.integral(lambda theta: (c / v * theta.clamp_min(0)).log1p())
    return Cost((excess + volume + distance) / 2, 1 + (excess.mean(dim=0) + distance) / dimension)


def costs(
    error: Tensor,
    sigmas: tuple[float, float],
    at: Jacobian,
    probes: tuple[int, int],
    generator: torch.Generator,
    learned: Tensor | None = None,
) -> tuple[dict[str, Cost], Tensor]:
    """Cost of a step with each covariance, and the variance (batch,) that probes give to the full one's kl.

    `error` is x_0 - D (batch, channels, height, width), `sigmas` are sigma_t and sigma_s, `probes` how many
    for the diagonals and how many, two at least, for traces; `learned` is a diagonal of J to try, too.
    """
    b, v, c = kernel(*sigmas)
    e = b * error.flatten(1)
    pixels, frequencies = diagonals(at.transposed, rademacher(probes[0], error, generator))
    ones = torch.ones_like(pixels)
    variances = {
        "isotropic-large": (sigmas[0] ** 2 - sigmas[1] ** 2) * ones,
        "isotropic": v * ones,
        "isotropic-optimal": v + c * pixels.mean(dim=1, keepdim=True).clamp_min(0) * ones,
        "diagonal": v + c * pixels.clamp_min(0),
    }
    if learned is not None:
        variances["diagonal-learned"] = v + c * learned.flatten(1).clamp_min(0)
    found = {name: diagonal_cost(v, e, of_pixels) for name, of_pixels in variances.items()}
    found["spectral"] = diagonal_cost(v, b * spectrum(error).flatten(1), v + c * frequencies.clamp_min(0))
    steps = lanczos_steps(*sigmas)
    trace = trace_rule(at.symmetrised, rademacher(probes[1], e, generator), steps)
    full = full_cost(v, c, e.shape[1], trace, gauss_rule(at.symmetrised, e, steps))
    return found | {"full": full._replace(kl=full.kl.mean(dim=0))}, full.kl.var(dim=0) / probes[1]


def lanczos_steps(sigma: float, sigma_next: float) -> int:
    """As many as it takes for the rules' error to be a hundredth of a step's cost.

    Many eigenvalues of a trained J are about zero, on either side of the clamp's kink, and have to be told
    apart from v / c = 1 / (sigma^2 / sigma_next^2 - 1): the number grows with that ratio, not with its root,
    as it would without the kink. The factor was found with J written out; `likelihood.differences` has what
    is left.
    """
    return max(4, math.ceil(0.7 * sigma**2 / sigma_next**2))


def exact_costs(error: Tensor, sigmas: tuple[float, float], j: Tensor) -> dict[str, Cost]:
    """The same of one item, error (1, channels, height, width), with J (d, d) written out and no probes."""
    b, v, c = kernel(*sigmas)
    j, e = j.double(), b * error.flatten(1).double()
    theta, vectors = torch.linalg.eigh((j + j.T) / 2)
    pictures = j.view(len(j), *error.shape[1:])
    half = spectrum(pictures).flatten(1).T.reshape(pictures.shape)
    frequencies = octave_means(spectrum(half).flatten(1).diagonal().view(error.shape[1:])).flatten()
    return {
        "isotropic-optimal": diagonal_cost(v, e, (v + c * j.diagonal().mean().clamp_min(0)).expand(e.shape)),
        "diagonal": diagonal_cost(v, e, (v + c * j.diagonal().clamp_min(0))[None]),
        "spectral": diagonal_cost(v, b * spectrum(error).flatten(1), (v + c * frequencies.clamp_min(0))[None]),
        "full": diagonal_cost(v, e @ vectors, (v + c * theta.clamp_min(0))[None]),
    }


def prior(images: Tensor, sigma: float) -> Tensor:
    """KL(N(x_0, sigma^2 I) || N(0, sigma^2 I)) of images (batch, ...), in nats, (batch,)."""
    return images.double().square().flatten(1).sum(dim=1) / (2 * sigma**2)


def decoder(images: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """-log of the mass of N(mean, sigma^2 I) in the bins of the pixels (batch, ...), in nats, (batch,).

    Ho et al., arXiv 2006.11239, equation 13: levels are 2/255 apart, from -1, whose bin has no lower
    end, to 1, whose bin has no upper one.
    """
    images, mean = images.double(), mean.double()
    upper = torch.where(images > 1 - 1 / 255, math.inf, (images + 1 / 255 - mean) / sigma)
    lower = torch.where(images < -1 + 1 / 255, -math.inf, (images - 1 / 255 - mean) / sigma)
    # In the tail where both are negative, differences of the distribution function keep their digits.
    flipped = lower + upper > 0
    lower, upper = torch.where(flipped, -upper, lower), torch.where(flipped, -lower, upper)
    log_mass = torch.special.log_ndtr(upper)
    log_mass = log_mass + torch.log1p(-(torch.special.log_ndtr(lower) - log_mass).exp())
    return -log_mass.flatten(1).sum(dim=1)


def jacobian(denoise: Callable, x: Tensor, sigma: float, chunk: int = 64) -> Tensor:
    """J (d, d) of one item x (1, ...)."""
    _, at = linearised(denoise, x.expand(chunk, *x.shape[1:]), sigma)
    size = x.numel()
    rows = torch.eye(math.ceil(size / chunk) * chunk, size, dtype=x.dtype)
    return torch.cat([at.transposed(part) for part in rows.split(chunk)])[:size]
