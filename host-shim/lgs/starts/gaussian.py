"""A Gaussian prior of the data, and teleportation with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._arguments import Denoiser, check_number, check_tensor
from .._ffi import start_calls
from ..errors import InvalidArgument
from ..options import Options
from . import files
from .batches import checked_batch
from .components import Components
from .from_model import mean_of_data, variance_of_data
from .low_rank import LowRankGaussians
from .start import Start, asked, checked_items, checked_numbers
from .unfinished import Unfinished

LARGEST_RANK = 256
"""Components that are kept where none is asked for."""

HELD_OUT = 5
"""One picture in so many is held out to choose the rank."""


class GaussianPrior(Start):
    """x_0 ~ N(mean, U diag(variances) U^T + rest (I - U U^T)), U the columns of ``basis``.

    ``mean`` (d...), ``basis`` (d..., r), orthonormal, ``variances`` (r,), float32 on any device; ``rest``, the variance
    along every other direction. ``about``: what it was fitted to, texts by name, kept in its file.

    Raises `lgs.InvalidArgument` or `lgs.InvalidType` for shapes or values that do not fit together.
    """

    family: ClassVar[str] = "gaussian"
    about: dict[str, str]
    mean: Tensor
    basis: Tensor
    variances: Tensor
    rest: float

    def __init__(
        self,
        mean: Tensor,
        basis: Tensor,
        variances: Tensor,
        rest: float | Tensor,
        about: Mapping[str, str] | None = None,
    ):
        tensors = {"mean": mean, "basis": basis, "variances": variances}
        checked_numbers(tensors)
        if variances.ndim != 1 or basis.shape != (*mean.shape, *variances.shape) or len(variances) > mean.numel():
            raise InvalidArgument(
                "basis: expected shape (*mean.shape, len(variances)), at most as many columns as the mean has numbers, "
                f"got mean {tuple(mean.shape)}, basis {tuple(basis.shape)}, variances {tuple(variances.shape)}"
            )
        self.rest = check_number("rest", rest)
        if not (0 <= self.rest < math.inf) or (variances < 0).any():
            raise InvalidArgument(
                f"variances, rest: expected numbers that are not negative, got {variances.tolist()[:4]} and {rest}"
            )
        self.mean, self.basis, self.variances = (tensor.detach().float().contiguous() for tensor in tensors.values())
        self.about = dict(about or {})

    @property
    def shape(self) -> torch.Size:
        return self.mean.shape

    @classmethod
    def fit(
        cls,
        images: Tensor | Iterable[Tensor],
        rank: int | None = None,
        *,
        about: Mapping[str, str] | None = None,
        progress: Callable[[int], Any] | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> GaussianPrior:
        """Fitted to pictures or latents: (n, d...), or an iterable of such batches, read once, which need not fit in
        memory together.

        ``rank`` None: the one under which one picture in five, held out, is most likely. ``progress`` is called with
        the number of pictures so far. ``resume``: a file in which what is known is kept if the fit is stopped; called
        again with it, and with the same pictures in the same order, the fit goes on after those that it has.

        Raises `lgs.InvalidArgument` for no or one picture, pictures of several sizes,
        numbers that are not finite, or a rank of as many as there are pictures or more.
        """
        batches = [images] if isinstance(images, Tensor) else images
        components = Components(LARGEST_RANK if rank is None else max(1, rank))
        held_out: list[Tensor] = []
        shape: torch.Size | None = None
        count = 0
        unfinished = Unfinished(resume, {"fit": "pictures", "rank": str(rank)})
        known = 0
        if unfinished.tensors:
            components.restore(unfinished.tensors)
            known, held_out = int(unfinished.tensors["seen"]), [unfinished.tensors["held_out"]]
        # After a whole batch, in one piece: a stop may come anywhere.
        snapshot = components.state(), tuple(held_out), known

        def state() -> dict[str, Tensor]:
            found, kept, seen = snapshot
            if not found:
                return {}
            rows = torch.cat([found["mean"].new_zeros(0, len(found["mean"])), *kept])
            return found | {"seen": torch.tensor(seen), "held_out": rows}

        with unfinished.kept(state) as now_and_then:
            for batch in batches:
                batch = checked_batch(batch, shape)
                shape = batch.shape[1:]
                if components.count and shape.numel() != len(components.mean):
                    raise InvalidArgument(
                        f"resume: expected pictures of {len(components.mean)} numbers, as in the part that is known, "
                        f"got {tuple(shape)}"
                    )
                rows = batch.flatten(1).cpu()
                numbers = torch.arange(count, count + len(rows))
                new = numbers >= known
                if rank is None:
                    chosen = (numbers % HELD_OUT == HELD_OUT - 1) & (sum(map(len, held_out)) < LARGEST_RANK)
                    held_out.append(rows[chosen & new])
                    new &= ~chosen
                if new.any():
                    components.update(rows[new])
                count += len(batch)
                snapshot = components.state(), tuple(held_out), max(known, count)
                if progress is not None:
                    progress(count)
                now_and_then()
        if shape is None or count < 2:
            raise InvalidArgument(f"images: expected at least two pictures, got {count}")
        if rank is not None and not 0 <= rank < count:
            raise InvalidArgument(f"rank: expected 0 to {count - 1}, less than the number of pictures, got {rank}")
        if rank is None and count < 2 * HELD_OUT:
            raise InvalidArgument(
                f"rank: expected one to be given for fewer than {2 * HELD_OUT} pictures, of which too few can be held "
                f"out to choose it; got {count}"
            )
        if rank is None:
            rank = _likeliest_rank(components, torch.cat(held_out))
            components.update(torch.cat(held_out))
        return cls._of(components, rank, shape, dict(about or {}) | {"count": str(count), "source": "pictures"})

    @classmethod
    def _of(cls, components: Components, rank: int, shape: torch.Size, about: dict[str, str]) -> GaussianPrior:
        basis, variances, rest = _truncated(components, rank)
        basis = basis.reshape(*shape, -1)
        return cls(components.mean.reshape(shape), basis, variances, rest, about)

    @classmethod
    def from_model(
        cls,
        denoise: Denoiser,
        shape: tuple[int, ...],
        sigma: float,
        rank: int | None = None,
        *,
        evaluations: int = 64,
        batch: int = 8,
        process: str = "ve",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        generator: torch.Generator | None = None,
        about: Mapping[str, str] | None = None,
        progress: Callable[[int], Any] | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> GaussianPrior:
        """Fitted to a model's own answers at pure noise of level ``sigma``, prompted and guided as ``denoise`` is.

        ``shape`` (d...) is that of one item; ``evaluations`` of D are made in batches of at most ``batch``. ``rank``
        None: half of the evaluations. For a flow ``sigma`` must be below 1, where x says something of x_0: 0.97, say.
        ``resume`` as `fit` has it: it goes on with the noise that would have come. Formulas: `lgs.starts.from_model`.
        """
        sigma = check_number("sigma", sigma)
        Options(process=process)  # which refuses a name that is none
        top = 1.0 if process == "flow" else math.inf
        if not 0 < sigma < top:
            raise InvalidArgument(f"sigma: expected a noise level above 0 and below {top}, got {sigma}")
        if evaluations < 2 or batch < 1:
            raise InvalidArgument(
                f"evaluations, batch: expected at least 2 and at least 1, got {evaluations} and {batch}"
            )
        rank = evaluations // 2 if rank is None else rank
        if not 0 <= rank < evaluations:
            raise InvalidArgument(f"rank: expected 0 to {evaluations - 1}, fewer than the evaluations, got {rank}")
        components = Components(evaluations)
        generator = torch.Generator(device).manual_seed(torch.initial_seed()) if generator is None else generator
        settings = {"fit": "model", "shape": str(tuple(shape)), "sigma": str(sigma), "process": process}
        unfinished = Unfinished(resume, settings | {"evaluations": str(evaluations), "batch": str(batch)})
        if unfinished.tensors:
            components.restore(unfinished.tensors)
            generator.set_state(unfinished.tensors["noise"])
        snapshot = components.state(), generator.get_state()

        def state() -> dict[str, Tensor]:
            found, noise_state = snapshot
            return found | {"noise": noise_state} if found else {}

        with unfinished.kept(state) as now_and_then:
            for done in range(components.count, evaluations, batch):
                n = min(batch, evaluations - done)
                noise = torch.randn(n, *shape, device=device, generator=generator)
                components.update(asked(denoise, sigma * noise, sigma, dtype).flatten(1).cpu())
                snapshot = components.state(), generator.get_state()
                if progress is not None:
                    progress(done + n)
                now_and_then()
        level = sigma / (1 - sigma) if process == "flow" else sigma
        basis, answered, rest_answered = _truncated(components, rank)
        variances = variance_of_data(answered, level)
        rest = variance_of_data(torch.tensor(rest_answered, dtype=torch.float64), level).item()
        mean = mean_of_data(components.mean, basis, variances, rest, level)
        about = dict(about or {}) | {"evaluations": str(evaluations), "sigma": str(sigma), "source": "model"}
        size = torch.Size(shape)
        return cls(mean.reshape(size), basis.reshape(*size, -1), variances, rest, about)

    def teleport(self, x: Tensor, sigma: float, sigma_next: float, process: str = "ve") -> Tensor:
        """x at ``sigma_next`` for x (batch, d...) at ``sigma``, at no evaluation; like x.

        Along the probability-flow ODE of this Gaussian, in closed form (arXiv 2412.09726); an item's result is the
        same in any batch. Errors as `Start.teleport` has them.
        """
        return start_calls.teleport(
            Options(process=process).as_json(),
            check_tensor("x", x),
            check_number("sigma", sigma),
            check_number("sigma_next", sigma_next),
            mean=self.mean,
            basis=self.basis,
            variances=self.variances,
            rest=self.rest,
        )

    def given(self, known: Tensor, mask: Tensor) -> list[GaussianPrior]:
        """As `Start.given`: x = m + W z + sqrt(rest) e, W = U (variances - rest)^(1/2), conditioned on the numbers that
        are known. The mean is ``known`` where the picture is not free; ``rest`` is left there, as everywhere."""
        rows, free = self._known(known, mask)
        mean, factor, rest = self._factors()
        priors = []
        for row, open_ in zip(rows, free, strict=True):
            of_known, of_free = factor * ~open_[:, None], factor * open_[:, None]
            precision = torch.eye(factor.shape[1], dtype=torch.float64) + of_known.T @ of_known / rest
            values, vectors = torch.linalg.eigh(precision)
            cause = vectors @ ((vectors.T @ (of_known.T @ (row - mean))) / values) / rest
            centre = torch.where(open_, mean + of_free @ cause, row)
            left, singular, _ = torch.linalg.svd(of_free @ (vectors / values.sqrt()), full_matrices=False)
            kept = singular > 1e-7 * singular.max().clamp_min(1e-30) if len(singular) else singular.bool()
            columns = left[:, kept].reshape(*self.shape, -1)
            about = self.about | {"given": "a part of the picture"}
            priors.append(
                GaussianPrior(
                    centre.reshape(self.shape), columns, singular[kept].square() + self.rest, self.rest, about
                )
            )
        return priors

    def log_likelihood_of_known(self, known: Tensor, mask: Tensor) -> Tensor:
        """Log density (batch,), in nats, of the numbers of ``known`` where ``mask`` is 0: see `given`."""
        rows, free = self._known(known, mask)
        mean, factor, rest = self._factors()
        logs = []
        for row, open_ in zip(rows, free, strict=True):
            seen, of_known = (row - mean)[~open_], factor[~open_]
            precision = torch.eye(factor.shape[1], dtype=torch.float64) + of_known.T @ of_known / rest
            cause = torch.linalg.solve(precision, of_known.T @ seen) / rest
            distance = (seen.square().sum() - seen @ (of_known @ cause)) / rest
            volume = torch.logdet(precision) + len(seen) * math.log(2 * math.pi * rest)
            logs.append(-0.5 * (distance + volume))
        return torch.stack(logs)

    def save(self, file: str | PathLike[str]) -> None:
        """Writes it as safetensors, with ``about`` in its metadata."""
        rest = torch.tensor(self.rest, dtype=torch.float64)
        tensors = {"mean": self.mean, "basis": self.basis, "variances": self.variances, "rest": rest}
        files.write(file, self.family, tensors, self.about)

    @classmethod
    def load(cls, file: str | PathLike[str]) -> GaussianPrior:
        """The prior of a file. Raises `lgs.InvalidArgument` for one that is missing, damaged or of another kind."""
        return files.read_as(cls, cls.family, file)

    def _known(self, known: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (batch, d) of ``known``, float64, and where each is free."""
        rows = checked_items(known, self.shape).cpu().double()
        try:
            return rows, (check_tensor("mask", mask).cpu() > 0).expand(known.shape).flatten(1)
        except RuntimeError as problem:
            raise InvalidArgument(
                f"mask: expected one that broadcasts to {tuple(known.shape)}, got {tuple(mask.shape)}"
            ) from problem

    def _factors(self) -> tuple[Tensor, Tensor, float]:
        """m (d,), W = U (variances - rest)^(1/2) (d, r), and the rest, above 0: nothing is known exactly, or what the
        components do not span could not be."""
        mean, basis = self.mean.cpu().double().flatten(), self.basis.cpu().double().flatten(0, -2)
        spread = (self.variances.cpu().double() - self.rest).clamp_min(0)
        largest = self.rest + (spread.max().item() if len(spread) else 0.0)
        return mean, basis * spread.sqrt(), max(self.rest, 1e-6 * largest, 1e-12)

    def _mean(self) -> Tensor:
        return self.mean

    def _log_density(self, rows: Tensor, s: float) -> Tensor:
        return self._gaussians(rows).log_density(rows, s)[:, 0]

    def _posterior_mean(self, rows: Tensor, s: float) -> Tensor:
        return self._gaussians(rows).posterior_mean(rows, s, rows.new_ones(len(rows), 1))

    def _gaussians(self, x: Tensor) -> LowRankGaussians:
        """The one, on x's device and in its dtype."""
        d = self.mean.numel()
        rest = torch.tensor([self.rest])
        return LowRankGaussians(self.mean.reshape(1, d), self.basis.reshape(1, d, -1), self.variances[None], rest).to(x)

    def __repr__(self) -> str:
        return f"lgs.GaussianPrior(shape {tuple(self.mean.shape)}, rank {len(self.variances)}, rest {self.rest:.3g})"


def _truncated(components: Components, rank: int) -> tuple[Tensor, Tensor, float]:
    """Basis (d, r), variances (r,) and the mean variance along all other directions."""
    basis, variances = components.basis[:, :rank], components.variances[:rank]
    others = len(components.mean) - len(variances)
    left = max(0.0, components.total_variance - variances.sum().item())
    return basis, variances, left / others if others else 0.0


def _likeliest_rank(components: Components, held_out: Tensor) -> int:
    """The rank under which these items (n, d) are most likely."""
    from_mean = held_out.double() - components.mean
    basis, variances, total = components.basis, components.variances, components.total_variance
    d = len(components.mean)
    along = (from_mean @ basis).square().mean(dim=0).cumsum(dim=0)
    along = torch.cat([along.new_zeros(1), along])
    scaled = torch.cat([along.new_zeros(1), ((from_mean @ basis).square() / variances).mean(dim=0).cumsum(dim=0)])
    logs = torch.cat([along.new_zeros(1), variances.log().cumsum(dim=0)])
    kept = torch.cat([along.new_zeros(1), variances.cumsum(dim=0)])
    ranks = torch.arange(len(kept), dtype=torch.float64)
    rest = ((total - kept) / (d - ranks).clamp_min(1)).clamp_min(1e-12 * total / d)
    distance = from_mean.square().sum(dim=1).mean()
    # -2 log likelihood, but for what does not depend on the rank.
    cost = logs + (d - ranks) * rest.log() + scaled + (distance - along) / rest
    return int(cost.argmin())
