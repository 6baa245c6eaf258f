"""A normalising flow as a start: fitted to noised data by maximum likelihood (arXiv 2603.00772).

In the leading principal coordinates, each divided by its standard deviation at the noise level, c; beside them the
Gaussian's rest. The flow F maps c at level s to a standard normal, so that F_s'^-1 F_s takes the law at s to that at
s'; for Gaussian data F is the identity, and this is teleportation. The flow is zuko's (neural spline flow, Durkan et
al., arXiv 1906.04032), which is needed for this family alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .._arguments import check_tensor
from ..errors import EngineError, InvalidArgument, InvalidType
from . import files
from .batches import checked_batches
from .gaussian import GaussianPrior
from .start import Start, checked_items, checked_levels, signal
from .unfinished import Unfinished

HELD_OUT = 10
"""One picture in so many is held out, to see how likely such are."""

BATCH, CHECK = 256, 50
"""Pictures of a training step, and steps between two looks at those held out."""

RATE, PATIENCE = 3e-3, 12
"""Adam's, halved after every third look without a new best; so many of these in a row end the training."""

AUTOREGRESSIVE = 16
"""Up to so many coordinates the flow is autoregressive; of more it couples two halves, which is as quick both ways."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Of the flow. ``levels``: the lowest and the highest s = sigma / alpha that it is trained for; above it is the
    identity. ``context``: numbers of the context, 0 for none."""

    features: int
    context: int
    levels: tuple[float, float]
    transforms: int = 3
    width: int = 128

    def build(self) -> nn.Module:
        try:
            from zuko.flows import NSF
        except ImportError as problem:
            raise EngineError(
                "flow: expected the package zuko, which this family of starts needs and no other, got none; install "
                "it with: pip install zuko"
            ) from problem
        passes = None if self.features <= AUTOREGRESSIVE else 2
        if self.features == 1:
            passes = 1
        hidden = {"hidden_features": (self.width, self.width), "passes": passes}
        return NSF(self.features, context=2 + self.context, transforms=self.transforms, **hidden)


class FlowPrior(Start):
    """x_0 = m + U y + rest, with y from a normalising flow: of the Gaussian ``gaussian`` the leading coordinates.

    ``flow``: the module of ``architecture``. Made by `fit` or `load`.
    """

    family: ClassVar[str] = "flow"
    about: dict[str, str]
    gaussian: GaussianPrior
    architecture: Architecture
    flow: nn.Module
    context: Tensor | None

    def __init__(
        self,
        gaussian: GaussianPrior,
        architecture: Architecture,
        flow: nn.Module,
        about: Mapping[str, str] | None = None,
        context: Tensor | None = None,
    ):
        self.gaussian, self.architecture = gaussian, architecture
        self.flow = flow.eval().requires_grad_(False)
        self.about = dict(about or {})
        self.context = context

    @property
    def shape(self) -> torch.Size:
        return self.gaussian.shape

    @classmethod
    def fit(
        cls,
        images: Tensor | Iterable[Tensor],
        rank: int = 16,
        *,
        levels: tuple[float, float],
        context: Tensor | None = None,
        steps: int = 4000,
        seed: int = 0,
        about: Mapping[str, str] | None = None,
        progress: Callable[[int, float], Any] | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> FlowPrior:
        """Fitted to pictures or latents (n, d...), or something that gives such batches each time it is iterated.

        ``levels``: lowest and highest s = sigma / alpha at which it may be used. ``context`` (n, c): what each picture
        was made for, a prompt's embedding or a class (one-hot). At most ``steps`` of Adam, each on pictures noised to
        random levels, until those held out (one in ten) are no likelier. ``progress(step, held_out)``: their mean
        log-likelihood per picture of the coordinates, in nats. ``resume``: a file in which what is learned is kept if
        the fit is stopped. Raises `lgs.InvalidArgument` for fewer than 20 pictures, a rank above 1 less than their
        number, levels that are not 0 < low < high, or a context of another number.
        """
        batches = checked_batches(images)
        low, high = (float(level) for level in levels)
        count = sum(len(batch) for batch in batches())
        if not 0 < low < high < math.inf:
            raise InvalidArgument(f"levels: expected 0 < lowest < highest, got {low} and {high}")
        if count < 2 * HELD_OUT or not 1 <= rank < count:
            raise InvalidArgument(
                f"rank: expected 1 to one less than the number of pictures, of {2 * HELD_OUT} or more, got {rank} for "
                f"{count}"
            )
        if context is not None and (check_tensor("context", context).ndim != 2 or len(context) != count):
            raise InvalidArgument(
                f"context: expected shape ({count}, c), a row for each picture, got {tuple(context.shape)}"
            )
        gaussian = GaussianPrior.fit(batches(), rank)
        basis, mean = gaussian.basis.flatten(0, -2), gaussian.mean.flatten()
        coordinates = torch.cat([(batch.flatten(1).cpu() - mean) @ basis for batch in batches()])
        told = torch.zeros(count, 0) if context is None else context.detach().cpu().float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            architecture = Architecture(coordinates.shape[1], told.shape[1], (low, high))
            flow = architecture.build()
        settings = {"fit": "flow", "architecture": json.dumps(dataclasses.asdict(architecture)), "seed": str(seed)}
        unfinished = Unfinished(resume, settings | {"count": str(count)})
        training = _Training(flow, architecture, gaussian.variances, coordinates, told, seed)
        with torch.inference_mode(False), torch.enable_grad(), unfinished.kept(training.state) as now_and_then:
            if unfinished.tensors:
                training.restore(unfinished.tensors)
            while training.step < steps and training.improving:
                training.advance()
                if progress is not None and training.looked:
                    progress(training.step, training.held_out)
                now_and_then()
        flow.load_state_dict(training.best)
        about = dict(about or {}) | {
            "count": str(count),
            "source": "pictures",
            "held_out": f"{training.best_held_out:.6g}",
        }
        return cls(gaussian, architecture, flow, about)

    def with_context(self, context: Tensor) -> FlowPrior:
        """The same for this context, (c,) or (batch, c)."""
        if check_tensor("context", context).shape[-1:] != (self.architecture.context,) or context.ndim > 2:
            raise InvalidArgument(
                f"context: expected ({self.architecture.context},) or (batch, {self.architecture.context}), got "
                f"{tuple(context.shape)}"
            )
        return FlowPrior(self.gaussian, self.architecture, self.flow, self.about, context.float())

    @torch.no_grad()
    def teleport(self, x: Tensor, sigma: float, sigma_next: float, process: str = "ve") -> Tensor:
        rows = checked_items(x, self.shape)
        sigma, sigma_next = checked_levels(sigma, sigma_next, process)
        # Beside the leading coordinates as the Gaussian has it; these as it has them, and then corrected.
        moved = self.gaussian.teleport(x, sigma, sigma_next, process)
        alpha, alpha_next = signal(sigma, process), signal(sigma_next, process)
        s_next = sigma_next / alpha_next
        if s_next > self.architecture.levels[1]:
            return moved
        scales = (self.gaussian.variances.to(rows) + s_next**2).sqrt()
        basis = self.gaussian.basis.to(rows).flatten(0, -2)
        corrections = []
        # Each item by itself: in a product of all at once its last bits would depend on how many they are.
        for number, item in enumerate(moved.flatten(1).to(rows)):
            c = normal = self._parts(item[None] / alpha_next)[0] / scales
            if alpha > 0 and sigma / alpha <= self.architecture.levels[1]:
                normal = self._law(sigma / alpha, 1, rows, number).transform(normal)
            mapped = self._law(s_next, 1, rows, number).transform.inv(normal)
            corrections.append(((mapped - c) * scales)[0] @ basis.T)
        return (moved.flatten(1) + alpha_next * torch.stack(corrections)).reshape(x.shape).to(x.dtype)

    def save(self, file: str | PathLike[str]) -> None:
        gaussian = {name: getattr(self.gaussian, name) for name in ("mean", "basis", "variances")}
        gaussian["rest"] = torch.tensor(self.gaussian.rest, dtype=torch.float64)
        tensors = {f"gaussian.{name}": tensor for name, tensor in gaussian.items()}
        tensors |= {f"flow.{name}": tensor for name, tensor in self.flow.state_dict().items()}
        if self.context is not None:
            tensors["context"] = self.context
        files.write(file, self.family, tensors, self.about | {ARCHITECTURE: self._architecture_text()})

    @classmethod
    def load(cls, file: str | PathLike[str]) -> FlowPrior:
        """The flow of a file. Raises `lgs.InvalidArgument` for one that is missing, damaged or of another kind, and
        `lgs.EngineError` where zuko is not installed."""
        _, tensors, about = files.read(file, cls.family)
        try:
            told = json.loads(about.pop(ARCHITECTURE, ""))
            architecture = Architecture(**told | {"levels": tuple(told["levels"])})
            if not (0 < architecture.features <= 4096 and 0 <= architecture.context <= 65536):
                raise ValueError(f"expected an architecture of a sensible size, got {architecture}")
            if not (0 < architecture.transforms <= 64 and 0 < architecture.width <= 8192):
                raise ValueError(f"expected an architecture of a sensible size, got {architecture}")
            gaussian = GaussianPrior(**_part("gaussian.", tensors))
            flow = architecture.build()
            flow.load_state_dict(_part("flow.", tensors))
            if len(gaussian.variances) != architecture.features:
                raise ValueError(f"expected {architecture.features} components, got {len(gaussian.variances)}")
        except EngineError:
            raise
        except (ValueError, TypeError, KeyError, RuntimeError, InvalidType) as problem:
            raise files.unusable(file, problem) from problem
        return cls(gaussian, architecture, flow, about, tensors.get("context"))

    def __repr__(self) -> str:
        return f"lgs.starts.FlowPrior(shape {tuple(self.shape)}, {self.architecture})"

    def _mean(self) -> Tensor:
        return self.gaussian.mean

    def _log_density(self, rows: Tensor, s: float) -> Tensor:
        along, beside = self._parts(rows)
        scales = (self.gaussian.variances.to(rows) + s**2).sqrt()
        variance = self.gaussian.rest + s**2
        d, r = rows.shape[1], len(scales)
        of_rest = -0.5 * (beside.square().sum(dim=1) / variance + (d - r) * math.log(2 * math.pi * variance))
        c = along / scales
        if s > self.architecture.levels[1]:
            of_flow = -0.5 * (c.square().sum(dim=1) + r * math.log(2 * math.pi))
        else:
            of_flow = self._law(s, len(rows), rows).log_prob(c)
        return of_flow - scales.log().sum() + of_rest

    def _architecture_text(self) -> str:
        return json.dumps(dataclasses.asdict(self.architecture))

    def _parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Leading coordinates (batch, r) of rows (batch, d), and what is beside them (batch, d)."""
        basis = self.gaussian.basis.to(rows).flatten(0, -2)
        from_mean = rows - self.gaussian.mean.to(rows).flatten()
        along = from_mean @ basis
        return along, from_mean - along @ basis.T

    def _law(self, s: float, batch: int, like: Tensor, item: int | None = None) -> Any:
        """The flow's distribution of the coordinates at level s."""
        low, high = self.architecture.levels
        if s < low * (1 - 1e-6):
            raise InvalidArgument(
                f"sigma: expected sigma / alpha of {low:g} or more, which it was fitted to, got {s:g}"
            )
        if self.architecture.context and self.context is None:
            raise InvalidArgument("context: expected with_context first: it was fitted with one")
        told = torch.zeros(0) if self.context is None else self.context
        if told.ndim == 2 and item is not None:
            told = told[item]
        elif told.ndim == 2 and len(told) != batch:
            raise InvalidArgument(f"context: expected a row for each of {batch} items, got {len(told)}")
        flow = self.flow.to(like)
        level = level_features(torch.full((batch,), s), self.architecture.levels)
        return flow(torch.cat([level, told.cpu().float().expand(batch, -1)], dim=1).to(like))


ARCHITECTURE = "architecture"


def level_features(s: Tensor, levels: tuple[float, float]) -> Tensor:
    """What the flow is told of the levels s (n,): (n, 2)."""
    low, high = (math.log(level) for level in levels)
    place = (s.log() - low) / (high - low)
    return torch.stack([2 * place - 1, s.clamp_min(1e-6).reciprocal().clamp_max(10.0)], dim=1)


class _Training:
    """Of a flow on coordinates y (n, r) whose Gaussian has these variances (r,), with contexts (n, c)."""

    def __init__(
        self,
        flow: nn.Module,
        architecture: Architecture,
        variances: Tensor,
        y: Tensor,
        contexts: Tensor,
        seed: int,
    ):
        self.flow, self.architecture, self.variances = flow, architecture, variances
        held_out = torch.arange(len(y)) % HELD_OUT == HELD_OUT - 1
        self.y, self.contexts = y[~held_out], contexts[~held_out]
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.Adam(flow.parameters(), lr=RATE)
        self.step, self.looks_without, self.stale = 0, 0, 0
        self.held_out = self.best_held_out = -math.inf
        self.best = self._weights()
        # The same noise at each look, and each picture at several levels.
        fixed = torch.Generator().manual_seed(seed + 1)
        y, contexts = y[held_out].repeat(4, 1), contexts[held_out].repeat(4, 1)
        self._held_out = self._noised(y, contexts, fixed)

    @property
    def improving(self) -> bool:
        return self.looks_without < PATIENCE

    @property
    def looked(self) -> bool:
        """Whether the last step was followed by a look at those held out."""
        return self.step % CHECK == 0

    def advance(self) -> None:
        """One step, and now and then a look."""
        chosen = torch.randint(len(self.y), (BATCH,), generator=self.generator)
        c, told = self._noised(self.y[chosen], self.contexts[chosen], self.generator)
        loss = -self.flow(told).log_prob(c).mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.flow.parameters(), 10.0)
        self.optimizer.step()
        self.step += 1
        if self.looked:
            c, told = self._held_out
            with torch.no_grad():
                parts = zip(c.split(4096), told.split(4096), strict=True)
                total = sum(self.flow(told).log_prob(c).sum().item() for c, told in parts)
            self.held_out = total / len(c)
            if self.held_out > self.best_held_out:
                self.best, self.best_held_out, self.looks_without = self._weights(), self.held_out, 0
            else:
                self.looks_without += 1
                self.stale += 1
                for group in self.optimizer.param_groups:
                    group["lr"] = RATE * 0.5 ** (self.stale // 3)

    def state(self) -> dict[str, Tensor]:
        """All of it, to go on later."""
        if self.step == 0:
            return {}
        tensors = {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"flow.{name}": tensor for name, tensor in self._weights().items()}
        for number, of in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": tensor.clone() for name, tensor in of.items()}
        numbers = [self.step, self.looks_without, self.stale, self.held_out, self.best_held_out]
        finite = [max(number, -1e300) for number in numbers]
        return tensors | {
            "numbers": torch.tensor(finite, dtype=torch.float64),
            "noise": self.generator.get_state(),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.flow.load_state_dict(_part("flow.", tensors))
        self.best = _part("best.", tensors)
        adam = self.optimizer.state_dict()
        for name, tensor in _part("adam.", tensors).items():
            number, key = name.split(".")
            adam["state"].setdefault(int(number), {})[key] = tensor
        *counts, self.held_out, self.best_held_out = tensors["numbers"].tolist()
        self.step, self.looks_without, self.stale = map(int, counts)
        for group in adam["param_groups"]:
            group["lr"] = RATE * 0.5 ** (self.stale // 3)
        self.optimizer.load_state_dict(adam)
        self.generator.set_state(tensors["noise"])

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.flow.state_dict().items()}

    def _noised(self, y: Tensor, contexts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Coordinates divided by their standard deviations, each row at a level of its own, and what the flow is
        told."""
        low, high = (math.log(level) for level in self.architecture.levels)
        s = torch.exp(low + (high - low) * torch.rand(len(y), generator=generator))
        noise = torch.randn(y.shape, generator=generator)
        c = (y + s[:, None] * noise) / (self.variances + s[:, None] ** 2).sqrt()
        return c, torch.cat([level_features(s, self.architecture.levels), contexts], dim=1)


def _part(of: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Those whose names begin so, by the rest of their names."""
    return {name.removeprefix(of): tensor for name, tensor in tensors.items() if name.startswith(of)}
