"""The law of the noise that `lgs.reverse_noise` draws, and how far the exact reverse kernel's Gaussian is from it.

Each function takes the KL between N(0, Sigma) and the law of the noise y(z), z ~ N(0, I), at points x
(batch, d), from images of the noise itself: what is measured is the product. They are given ``noise``, the
function (x, z) -> y, and ``exact``, Sigma of each item (batch, d, d), and return (batch,) in nats.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Noise = Callable[[Tensor, Tensor], Tensor]


def gaussian_kl(exact: Tensor, basis: Tensor, variances: Tensor) -> Tensor:
    """KL(N(0, exact) || N(0, basis^T diag(variances) basis)), basis (d, d) orthogonal, variances (batch, d)."""
    shown = (basis @ exact @ basis.T).diagonal(dim1=-2, dim2=-1)
    return ((shown / variances - 1 + variances.log()).sum(dim=-1) - torch.logdet(exact)) / 2


def kl_to_diagonal(drawn: Tensor, z: Tensor, exact: Tensor, basis: Tensor) -> Tensor:
    """KL(N(0, exact) || law) for a noise that is diagonal in ``basis``, from one draw y(z), both (batch, d).

    Probes that come with z are part of the law, a mixture over them: its own KL is at most the mean of these.
    """
    scales = (drawn @ basis.T) / (z @ basis.T)
    return gaussian_kl(exact, basis, scales.square())


def kl_to_linear(noise: Noise, x: Tensor, exact: Tensor) -> Tensor:
    """KL(N(0, exact) || law) for a noise that is linear in z, from its images of the unit vectors."""
    count, d = x.shape
    units = torch.eye(d, dtype=torch.float64).repeat(count, 1)
    columns = noise(x.repeat_interleave(d, dim=0), units).reshape(count, d, d)
    covariance = columns.mT @ columns
    excess = torch.linalg.solve(covariance, exact).diagonal(dim1=-2, dim2=-1).sum(dim=-1) - d
    return (excess + torch.logdet(covariance) - torch.logdet(exact)) / 2


def kl_of_homogeneous(noise: Noise, x: Tensor, z: Tensor, exact: Tensor) -> Tensor:
    """An unbiased estimate, from one z each, of KL(law || N(0, exact)) for a noise with y(c z) = c y(z), c > 0.

    That of a few Lanczos steps is no Gaussian: the Krylov space depends on z. Let Sigma^-1/2 y(z) = z + delta(z)
    and D = d delta / dz. By the change of variables the KL is the mean of

        d (|z + delta|^2 / |z|^2 - 1) / 2 - log det(I + D),

    the length of z averaged over; less Stein's d z.delta / |z|^2 - tr D, of mean zero (Stein 1981), it is that of
    d |delta|^2 / |z|^2 / 2 + tr D - log det(I + D), whose spread is of second order in delta, too. D is by
    central differences. The KL is the other way round than the other two functions': for a law
    close to the Gaussian both ways agree to leading order.

    Raises ArithmeticError where det y' is not positive. Where it always is, y is one to one, as the change
    of variables needs: a proper local homeomorphism of a simply connected space, R^d without 0.
    """
    count, d = x.shape
    values, vectors = torch.linalg.eigh(exact)
    whiten = vectors * values.rsqrt()[:, None] @ vectors.mT
    h = 1e-5
    steps = h * torch.eye(d, dtype=torch.float64)
    points = torch.stack([z[:, None] + steps, z[:, None] - steps]).reshape(-1, d)
    images = noise(x.repeat_interleave(d, dim=0).repeat(2, 1), points).reshape(2, count, d, d) @ whiten
    jacobian = (images[0] - images[1]) / (2 * h)
    sign, log_det = torch.linalg.slogdet(jacobian)
    if (sign <= 0).any():
        raise ArithmeticError(f"expected noise that is one to one in z, got det y' <= 0 at {(sign <= 0).sum()} points")
    delta = (noise(x, z)[:, None] @ whiten)[:, 0] - z
    divergence = jacobian.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - d
    return d * delta.square().sum(dim=1) / z.square().sum(dim=1) / 2 + divergence - log_det
