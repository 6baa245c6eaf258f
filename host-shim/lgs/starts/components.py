"""Principal components of a stream of items that need not fit in memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Components:
    """Mean, leading components and total variance of what `update` has seen.

    An item is a row of d numbers. After each update the ``rank`` leading components of what came before stand for it:
    the incremental SVD of Ross et al., "Incremental Learning for Robust Visual Tracking" (2008), exact while no more
    than ``rank`` + 1 items have come, and where the data have no more than ``rank`` components. Float64.
    """

    def __init__(self, rank: int):
        self.rank = rank
        self.count = 0
        self._mean: Tensor | None = None
        self._scaled: Tensor | None = None
        """Singular values times right singular vectors of the centred items, (at most rank, d)."""
        self._scatter = 0.0
        """Sum of the squared distances to the mean."""

    def update(self, items: Tensor) -> None:
        """``items`` (n, d)."""
        items = items.double()
        n, seen = len(items), self.count
        mean = items.mean(dim=0)
        centred = items - mean
        if self._mean is None or self._scaled is None:
            self._mean, rows = mean, [centred]
            self._scatter = centred.square().sum().item()
        else:
            shift = mean - self._mean
            # What two means that differ add to the scatter about the common one.
            weight = seen * n / (seen + n)
            rows = [self._scaled, centred, weight**0.5 * shift[None]]
            self._scatter += centred.square().sum().item() + weight * shift.square().sum().item()
            self._mean = self._mean + shift * (n / (seen + n))
        self.count += n
        _, values, vectors = torch.linalg.svd(torch.cat(rows), full_matrices=False)
        self._scaled = (values[:, None] * vectors)[: self.rank]

    def state(self) -> dict[str, Tensor]:
        """All that it knows, by name; nothing before the first update."""
        if self._mean is None or self._scaled is None:
            return {}
        count, scatter = torch.tensor(self.count), torch.tensor(self._scatter, dtype=torch.float64)
        return {"mean": self._mean, "scaled": self._scaled, "count": count, "scatter": scatter}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state` gave."""
        self._mean, self._scaled = state["mean"], state["scaled"]
        self.count, self._scatter = int(state["count"]), state["scatter"].item()

    @property
    def mean(self) -> Tensor:
        """(d,)."""
        assert self._mean is not None
        return self._mean

    @property
    def basis(self) -> Tensor:
        """Orthonormal columns, (d, components), the leading one first; those without any variance are left out."""
        scaled = self._leading()
        return (scaled / scaled.norm(dim=1, keepdim=True)).T

    @property
    def variances(self) -> Tensor:
        """(components,), falling."""
        return self._leading().square().sum(dim=1) / max(1, self.count - 1)

    @property
    def total_variance(self) -> float:
        """Of all d numbers together."""
        return self._scatter / max(1, self.count - 1)

    def _leading(self) -> Tensor:
        assert self._scaled is not None
        squares = self._scaled.square().sum(dim=1)
        return self._scaled[squares > 1e-14 * squares.max().clamp_min(torch.finfo(torch.float64).tiny)]
