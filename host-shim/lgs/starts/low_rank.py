"""Gaussians of low-rank covariance, several at once, with noise added: densities and posterior means.

    x_0 ~ N(m, C),  C = U diag(l) U^T + r (I - U U^T);    x = x_0 + s z
    log N(x; m, C + s^2 I);    E[x_0 | x] = m + C (C + s^2 I)^-1 (x - m)

in the variance exploding convention; a flow's x / alpha and sigma / alpha are such.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class LowRankGaussians:
    """k of them, in d dimensions, of rank r: ``means`` (k, d), ``bases`` (k, d, r), ``variances`` (k, r),
    ``rests`` (k,)."""

    means: Tensor
    bases: Tensor
    variances: Tensor
    rests: Tensor

    def to(self, x: Tensor) -> LowRankGaussians:
        """On the device of x, in its dtype."""
        return LowRankGaussians(*(tensor.to(x) for tensor in dataclasses.astuple(self)))

    def coordinates(self, x: Tensor) -> Tensor:
        """U^T (x - m) of x (batch, d) for each, (batch, k, r)."""
        k, d, r = self.bases.shape
        columns = self.bases.permute(1, 0, 2).reshape(d, k * r)
        of_means = torch.einsum("kd,kdr->kr", self.means, self.bases)
        return (x @ columns).reshape(len(x), k, r) - of_means

    def squared_distances(self, x: Tensor) -> Tensor:
        """|x - m|^2 of x (batch, d), (batch, k)."""
        return torch.cdist(x, self.means, compute_mode="donot_use_mm_for_euclid_dist").square()

    def log_density(self, x: Tensor, s: float, coordinates: Tensor | None = None) -> Tensor:
        """Of x (batch, d) with noise of level s, (batch, k), in nats."""
        along = self.coordinates(x) if coordinates is None else coordinates
        d, r = self.bases.shape[1:]
        variances, rests = self.variances + s**2, self.rests + s**2
        squares = along.square()
        beside = (self.squared_distances(x) - squares.sum(dim=-1)).clamp_min(0)
        distance = (squares / variances).sum(dim=-1) + beside / rests
        volume = variances.log().sum(dim=-1) + (d - r) * rests.log() + d * math.log(2 * math.pi)
        return -0.5 * (distance + volume)

    def posterior_mean(self, x: Tensor, s: float, weights: Tensor, coordinates: Tensor | None = None) -> Tensor:
        """Sum over k of ``weights`` (batch, k) times E[x_0 | x] of each, (batch, d)."""
        along = self.coordinates(x) if coordinates is None else coordinates
        k, d, r = self.bases.shape
        of_rest = self.rests / (self.rests + s**2)
        beyond = self.variances / (self.variances + s**2) - of_rest[:, None]
        shares = weights * of_rest
        result = x * shares.sum(dim=1, keepdim=True) + (weights - shares) @ self.means
        columns = self.bases.permute(1, 0, 2).reshape(d, k * r)
        return result + (weights[..., None] * beyond * along).reshape(len(x), k * r) @ columns.T
