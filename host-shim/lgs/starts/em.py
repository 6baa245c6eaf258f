"""EM for mixtures of probabilistic principal components, over batches that need not fit in memory together.

Tipping and Bishop, "Mixtures of Probabilistic Principal Component Analysers", Neural Computation 11 (1999): the
M-step of appendix C, which needs S W alone, never the d x d scatter S:

    W' = S W (r I + M^-1 W^T S W)^-1,    M = r I + W^T W
    r' = (tr S - tr(S W M^-1 W'^T)) / d

with W = U (diag(l) - r I)^(1/2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from .components import Components
from .low_rank import LowRankGaussians

COORDINATES = 64
"""Leading principal coordinates in which k-means is done."""

LEAST = 1e-6
"""The smallest variance, relative to the mean variance of a number of the data: a component must not collapse."""

SMALLEST = 1e-12
"""And where the data do not vary at all."""

Batches = Callable[[], Iterable[Tensor]]
"""Rows (n, d), from the beginning each time."""


def clusters(batches: Batches, k: int, seed: int) -> Callable[[Tensor], Tensor]:
    """The cluster (n,) of each of the rows (n, d), of k, by k-means (scipy's, k-means++ to begin with)."""
    from scipy.cluster.vq import kmeans2, vq

    first = next(iter(batches()))
    rank = min(COORDINATES, first.shape[1], sum(len(batch) for batch in batches()) - 1)
    components = Components(rank)
    for batch in batches():
        components.update(batch.cpu())
    mean, basis = components.mean, components.basis
    if basis.shape[1] == 0:  # all are the same
        return lambda batch: torch.zeros(len(batch), dtype=torch.long)
    coordinates = lambda batch: ((batch.cpu().double() - mean) @ basis).numpy()  # noqa: E731
    points = torch.cat([torch.from_numpy(coordinates(batch)) for batch in batches()]).numpy()
    centroids, _ = kmeans2(points, k, iter=30, minit="++", rng=seed)
    return lambda batch: torch.from_numpy(vq(coordinates(batch), centroids)[0]).long()


def principal(
    batches: Batches, cluster: Callable[[Tensor], Tensor], k: int, rank: int
) -> tuple[Tensor, LowRankGaussians]:
    """Weights (k',) and Gaussians of the clusters with more than ``rank`` + 1 items: their principal components."""
    found = [Components(rank) for _ in range(k)]
    for batch in batches():
        chosen = cluster(batch)
        for number in chosen.unique().tolist():
            found[number].update(batch[chosen == number].cpu())
    found = [one for one in found if one.count > rank + 1]
    d = len(found[0].mean)
    least = max(SMALLEST, LEAST * sum(one.total_variance for one in found) / len(found) / d)
    bases, variances, rests = [], [], []
    for one in found:
        kept = min(rank, len(one.variances))
        rest = max(least, (one.total_variance - one.variances[:kept].sum().item()) / (d - kept))
        missing = rank - kept
        bases.append(_completed(one.basis[:, :kept], missing))
        variances.append(torch.cat([one.variances[:kept], torch.full((missing,), rest, dtype=torch.float64)]))
        rests.append(rest)
    counts = torch.tensor([one.count for one in found], dtype=torch.float64)
    means = torch.stack([one.mean for one in found])
    gaussians = LowRankGaussians(
        means, torch.stack(bases), torch.stack(variances).clamp_min(least), torch.tensor(rests, dtype=torch.float64)
    )
    return counts / counts.sum(), gaussians


class Expectation:
    """What an M-step needs of all batches: sums over items, weighted with the responsibilities.

    One item in ``held_out`` (0: none) is left out of them, and tells how likely such are.
    """

    def __init__(self, gaussians: LowRankGaussians, held_out: int):
        self.gaussians = gaussians
        k, d, r = gaussians.bases.shape
        self.factors = gaussians.bases * (gaussians.variances - gaussians.rests[:, None]).clamp_min(0).sqrt()[:, None]
        """W (k, d, r)."""
        zeros = lambda *shape: torch.zeros(*shape, dtype=torch.float64)  # noqa: E731
        self.counts, self.sums, self.squares = zeros(k), zeros(k, d), zeros(k)
        self.products = zeros(k, d, r)
        """Sum over items of (x - m) (x - m)^T W."""
        self._in, self._out = [0.0, 0], [0.0, 0]
        self._held_out = held_out
        self._seen = 0

    def update(self, weights: Tensor, x: Tensor) -> None:
        """``x`` (n, d)."""
        gaussians = self.gaussians.to(x)
        along = gaussians.coordinates(x)
        joint = weights.to(x).log() + gaussians.log_density(x, 0.0, along)
        likelihood = joint.logsumexp(dim=1).double()
        used = torch.ones(len(x), dtype=torch.bool)
        if self._held_out:
            used = torch.arange(self._seen, self._seen + len(x)) % self._held_out != self._held_out - 1
            self._out[0] += likelihood[~used].sum().item()
            self._out[1] += int((~used).sum())
        self._seen += len(x)
        self._in[0] += likelihood[used].sum().item()
        self._in[1] += int(used.sum())
        x, along, responsibilities = x[used], along[used], joint[used].softmax(dim=1)
        scales = (gaussians.variances - gaussians.rests[:, None]).clamp_min(0).sqrt()
        for k, shares in enumerate(responsibilities.unbind(1)):
            near = shares > 1e-6
            if not near.any():
                continue
            centred, share = x[near] - gaussians.means[k], shares[near]
            weighted = share[:, None] * centred
            self.counts[k] += share.sum().double().item()
            self.sums[k] += weighted.sum(dim=0).cpu().double()
            self.squares[k] += (weighted * centred).sum().double().item()
            self.products[k] += (weighted.T @ (along[near][:, k] * scales[k])).cpu().double()

    @property
    def log_likelihood(self) -> float:
        """Mean over items."""
        return self._in[0] / max(1, self._in[1])

    @property
    def held_out_log_likelihood(self) -> float:
        return self._out[0] / max(1, self._out[1])


def maximised(of: Expectation) -> tuple[Tensor, LowRankGaussians]:
    """Weights and Gaussians of the M-step; components that next to nothing belongs to are gone."""
    k, d, r = of.factors.shape
    kept = (of.counts > r + 2).nonzero().flatten().tolist()
    least = max(SMALLEST, LEAST * (of.squares.sum() / of.counts.sum() / d).item())
    means, bases, variances, rests = [], [], [], []
    for number in kept:
        count, factor, rest = of.counts[number], of.factors[number].double(), of.gaussians.rests[number].double()
        shift = of.sums[number] / count
        # About the new mean, of which the sums about the old one know.
        scattered = of.products[number] / count - shift[:, None] * (shift @ factor)
        total = of.squares[number] / count - shift.square().sum()
        identity = torch.eye(r, dtype=torch.float64)
        inner = rest * identity + factor.T @ factor
        solved = torch.linalg.solve(inner, factor.T @ scattered)
        new = torch.linalg.solve(rest * identity + solved, scattered, left=False)
        new_rest = (total - (torch.linalg.solve(inner, scattered.T) * new.T).sum()) / d
        new_rest = new_rest.clamp_min(least)
        basis, singular, _ = torch.linalg.svd(new, full_matrices=False)
        means.append(of.gaussians.means[number].double() + shift)
        bases.append(basis)
        variances.append(singular.square() + new_rest)
        rests.append(new_rest)
    weights = of.counts[kept]
    gaussians = LowRankGaussians(torch.stack(means), torch.stack(bases), torch.stack(variances), torch.stack(rests))
    return weights / weights.sum(), gaussians


def _completed(basis: Tensor, missing: int) -> Tensor:
    """``basis`` (d, r) with as many orthonormal columns more."""
    if missing == 0:
        return basis
    more = torch.randn(len(basis), missing, dtype=basis.dtype, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(torch.cat([basis, more], dim=1)).Q
