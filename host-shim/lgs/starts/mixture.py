"""A mixture of factor analysers as a start: fitted by EM, moved along its own probability flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import InvalidArgument
from . import files
from .batches import checked_batches
from .em import Expectation, clusters, maximised, principal
from .gaussian import GaussianPrior
from .low_rank import LowRankGaussians
from .start import Start, checked_items, checked_levels, checked_numbers, signal

STEPS = 64
"""Of the ODE: on a mixture of 64 fitted to photographs its error is a hundredth of what one evaluation's is."""

PURE_NOISE = 300.0
"""Where the ODE begins for a flow's sigma = 1, as so many times the data's standard deviation."""


class MixturePrior(Start):
    """x_0 ~ sum_k w_k N(m_k, U_k diag(l_k) U_k^T + r_k (I - U_k U_k^T)).

    ``weights`` (k,), ``means`` (k, d...), ``bases`` (k, d..., r), of orthonormal columns each, ``variances`` (k, r),
    ``rests`` (k,); float32 on any device. ``about`` as `GaussianPrior` has it.

    Raises `lgs.InvalidArgument` or `lgs.InvalidType` for shapes or values that do not fit together.
    """

    family: ClassVar[str] = "mixture"
    about: dict[str, str]
    weights: Tensor
    means: Tensor
    bases: Tensor
    variances: Tensor
    rests: Tensor

    def __init__(
        self,
        weights: Tensor,
        means: Tensor,
        bases: Tensor,
        variances: Tensor,
        rests: Tensor,
        about: Mapping[str, str] | None = None,
    ):
        named = {"weights": weights, "means": means, "bases": bases, "variances": variances, "rests": rests}
        checked_numbers(named)
        k = len(weights) if weights.ndim == 1 else 0
        fit = means.shape[:1] == (k,) and rests.shape == (k,) and variances.ndim == 2 and len(variances) == k
        if not k or not fit or bases.shape != (*means.shape, variances.shape[-1]):
            shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in named.items())
            raise InvalidArgument(
                "expected weights (k,), means (k, d...), bases (k, d..., r), variances (k, r), rests (k,), got "
                + shapes
            )
        if weights.min() < 0 or abs(weights.sum().item() - 1) > 1e-3 or variances.min() < 0 or rests.min() < 0:
            raise InvalidArgument(
                "weights, variances, rests: expected weights that sum to 1 and numbers that are not negative, got "
                f"a sum of {weights.sum().item():.4g} and a least of "
                f"{min(tensor.min().item() for tensor in (weights, variances, rests)):.4g}"
            )
        self.weights, self.means, self.bases, self.variances, self.rests = (
            tensor.detach().float().contiguous() for tensor in named.values()
        )
        self.about = dict(about or {})

    @property
    def shape(self) -> torch.Size:
        return self.means.shape[1:]

    @classmethod
    def fit(
        cls,
        images: Tensor | Iterable[Tensor],
        components: int = 8,
        rank: int = 16,
        *,
        rounds: int = 20,
        seed: int = 0,
        about: Mapping[str, str] | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> MixturePrior:
        """Fitted to pictures or latents: (n, d...), or something that gives such batches each time it is iterated.

        Begins with k-means (in the leading principal coordinates) and the principal components of each cluster, then
        up to ``rounds`` of EM for mixtures of probabilistic principal components (Tipping and Bishop, 1999, appendix
        C), as long as pictures held out (one in ten, of twenty or more) become likelier. ``progress`` is called with
        the number of rounds so far. Raises `lgs.InvalidArgument` for fewer than 2 (rank + 2) pictures a component,
        pictures of several sizes, or numbers that are not finite.
        """
        batches = checked_batches(images)
        count = sum(len(batch) for batch in batches())
        shape = next(iter(batches())).shape[1:]
        d = math.prod(shape)
        if components < 1 or not 0 <= rank < d or count < 2 * (rank + 2) * components:
            raise InvalidArgument(
                f"components, rank: expected at least 1, and 0 to {d - 1}, with at least 2 (rank + 2) pictures a "
                f"component, got {components} and {rank} for {count} pictures"
            )
        rows = lambda: (batch.flatten(1) for batch in batches())  # noqa: E731
        weights, gaussians = principal(rows, clusters(rows, components, seed), components, rank)
        best, best_held_out = (weights, gaussians), -math.inf
        held_out = rounds > 0 and count >= 20
        for done in range(rounds):
            expectation = Expectation(gaussians, held_out=10 if held_out else 0)
            for batch in rows():
                expectation.update(weights, batch)
            likelihood = expectation.held_out_log_likelihood if held_out else expectation.log_likelihood
            if likelihood <= best_held_out + 1e-4 * abs(best_held_out if done else 0.0):
                break
            best, best_held_out = (weights, gaussians), likelihood
            weights, gaussians = maximised(expectation)
            if progress is not None:
                progress(done + 1)
        weights, gaussians = best if rounds else (weights, gaussians)
        k = len(weights)
        about = dict(about or {}) | {"count": str(count), "source": "pictures"}
        return cls(
            weights,
            gaussians.means.reshape(k, *shape),
            gaussians.bases.reshape(k, *shape, rank),
            gaussians.variances,
            gaussians.rests,
            about,
        )

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n items of data, (n, d...), float32."""
        gaussians, _ = self._on(self.means)
        draw = lambda *shape: torch.randn(*shape, generator=generator).to(self.means)  # noqa: E731
        chosen = torch.multinomial(self.weights.cpu(), n, replacement=True, generator=generator).to(self.means.device)
        items = draw(n, gaussians.means.shape[1]) * gaussians.rests[chosen, None].sqrt()
        along = draw(n, gaussians.variances.shape[1]) * gaussians.variances[chosen].sqrt()
        for k in chosen.unique():
            of_k, basis = chosen == k, gaussians.bases[k]
            items[of_k] += gaussians.means[k] + (along[of_k] - items[of_k] @ basis) @ basis.T
        return items.reshape(n, *self.shape)

    @torch.no_grad()
    def teleport(self, x: Tensor, sigma: float, sigma_next: float, process: str = "ve") -> Tensor:
        rows = checked_items(x, self.shape)
        sigma, sigma_next = checked_levels(sigma, sigma_next, process)
        alpha, alpha_next = signal(sigma, process), signal(sigma_next, process)
        gaussians, log_weights = self._on(rows)
        s_next = sigma_next / alpha_next
        if alpha == 0:
            s = PURE_NOISE * max(self._standard_deviation(), s_next)
            rows = log_weights.exp() @ gaussians.means + s * rows
        else:
            s, rows = sigma / alpha, rows / alpha
        # Each item by itself: in a product of all at once its last bits would depend on how many they are.
        moved = torch.cat([_along_the_flow(gaussians, log_weights, row[None], s, s_next) for row in rows])
        return (alpha_next * moved).reshape(x.shape).to(x.dtype)

    def given(self, known: Tensor, mask: Tensor) -> list[MixturePrior]:
        """As `Start.given`: each component as `GaussianPrior.given` has it, and weights by how likely each makes what
        is known."""
        r = self.variances.shape[1]
        components = [
            GaussianPrior(mean, basis, variances, rest.item(), self.about)
            for mean, basis, variances, rest in zip(self.means, self.bases, self.variances, self.rests, strict=True)
        ]
        conditioned = [component.given(known, mask) for component in components]
        logs = torch.stack([component.log_likelihood_of_known(known, mask) for component in components], dim=1)
        weights = (self.weights.cpu().double().log() + logs).softmax(dim=1)
        priors = []
        for item, of_item in enumerate(zip(*conditioned, strict=True)):
            # Columns of zeros, along which the variance is the rest's, stand for those that are missing.
            missing = [r - len(one.variances) for one in of_item]
            bases = [torch.nn.functional.pad(one.basis, (0, more)) for one, more in zip(of_item, missing, strict=True)]
            variances = [
                torch.cat([one.variances, one.variances.new_full((more,), one.rest)])
                for one, more in zip(of_item, missing, strict=True)
            ]
            priors.append(
                MixturePrior(
                    weights[item],
                    torch.stack([one.mean for one in of_item]),
                    torch.stack(bases),
                    torch.stack(variances),
                    torch.tensor([one.rest for one in of_item]),
                    of_item[0].about,
                )
            )
        return priors

    def save(self, file: str | PathLike[str]) -> None:
        names = ("weights", "means", "bases", "variances", "rests")
        files.write(file, self.family, {name: getattr(self, name) for name in names}, self.about)

    @classmethod
    def load(cls, file: str | PathLike[str]) -> MixturePrior:
        """The mixture of a file. Raises `lgs.InvalidArgument` for one that is missing, damaged or of another kind."""
        return files.read_as(cls, cls.family, file)

    def __repr__(self) -> str:
        k, r = self.variances.shape
        return f"lgs.starts.MixturePrior(shape {tuple(self.shape)}, components {k}, rank {r})"

    def _mean(self) -> Tensor:
        return torch.einsum("k,k...->...", self.weights, self.means)

    def _log_density(self, rows: Tensor, s: float) -> Tensor:
        gaussians, log_weights = self._on(rows)
        return (log_weights + gaussians.log_density(rows, s)).logsumexp(dim=1)

    def _posterior_mean(self, rows: Tensor, s: float) -> Tensor:
        return _denoised(*self._on(rows), rows, s)

    def _on(self, x: Tensor) -> tuple[LowRankGaussians, Tensor]:
        """The components on x's device and in its dtype, and the logarithms of their weights."""
        k, r = self.variances.shape
        flat = LowRankGaussians(self.means.reshape(k, -1), self.bases.reshape(k, -1, r), self.variances, self.rests)
        return flat.to(x), self.weights.to(x).log()

    def _standard_deviation(self) -> float:
        """Of the data along the direction in which they vary most, at most."""
        means = self.means.flatten(1)
        spread = (means - self.weights @ means).norm(dim=1).max().square()
        return math.sqrt((spread + torch.maximum(self.variances.max(), self.rests.max())).item())


def _denoised(gaussians: LowRankGaussians, log_weights: Tensor, x: Tensor, s: float) -> Tensor:
    """E[x_0 | x] of rows x in the variance exploding convention."""
    along = gaussians.coordinates(x)
    responsibilities = (log_weights + gaussians.log_density(x, s, along)).softmax(dim=1)
    return gaussians.posterior_mean(x, s, responsibilities, along)


def _along_the_flow(gaussians: LowRankGaussians, log_weights: Tensor, x: Tensor, s: float, s_next: float) -> Tensor:
    """x at s_next: dx/dlog s = x - D(x, s), by Heun's rule in log s with the linear part exact."""
    levels = torch.logspace(math.log10(s), math.log10(s_next), STEPS + 1, dtype=torch.float64).tolist()
    levels[0], levels[-1] = s, s_next
    denoised = _denoised(gaussians, log_weights, x, levels[0])
    for level, following in zip(levels[:-1], levels[1:], strict=True):
        ratio = following / level
        predicted = denoised + ratio * (x - denoised)
        further = _denoised(gaussians, log_weights, predicted, following)
        # D linear in log s over the step, against the weights of the exponential: exact for such.
        h = -math.log(ratio)
        weight = (h + ratio - 1) / h
        x = denoised + ratio * (x - denoised) + weight * (further - denoised)
        denoised = _denoised(gaussians, log_weights, x, following)
    return x
