"""What all families of starts have in common."""

from __future__ import annotations

import abc
from os import PathLike
from typing import ClassVar

import torch
from torch import Tensor

from .._arguments import check_number, check_tensor
from ..errors import InvalidArgument
from ..options import Options
from .levels import Divergence


class Start(abc.ABC):
    """A law of the data, known before the first evaluation: a trajectory may begin with what it says.

    ``about``: what it was fitted to, texts by name, kept in its file.
    """

    family: ClassVar[str]
    about: dict[str, str]

    @property
    @abc.abstractmethod
    def shape(self) -> torch.Size:
        """(d...): that of one item."""

    def begin(self, noise: Tensor, sigma: float, process: str = "ve") -> Tensor:
        """x at ``sigma`` for standard normal ``noise`` (batch, d...), at no evaluation; like it.

        Of this law exactly. Pure noise times the highest sigma, which hosts begin with, lacks the data's mean, and the
        data's variance beside its own: a probability-flow trajectory keeps that error to the end, the more the lower
        the highest sigma is. This is teleportation from where there is no data in x yet, a flow's sigma = 1.
        """
        _, sigma = checked_levels(1.0 if process == "flow" else max_finite(sigma), sigma, process)
        if process == "flow":
            return self.teleport(noise, 1.0, sigma, process)
        return (1 + sigma) * self.teleport(noise, 1.0, sigma / (1 + sigma), "flow")

    @abc.abstractmethod
    def teleport(self, x: Tensor, sigma: float, sigma_next: float, process: str = "ve") -> Tensor:
        """x at ``sigma_next`` for x (batch, d...) at ``sigma``, at no evaluation; like x.

        A map that takes the law of the noised data at ``sigma`` to that at ``sigma_next``, as the family knows it.
        Raises `lgs.InvalidArgument` where 0 < ``sigma_next`` < ``sigma`` does not hold, or x is of another shape.
        """

    @abc.abstractmethod
    def log_likelihood(self, x: Tensor, sigma: float, process: str = "ve") -> Tensor:
        """Log density (batch,), in nats, of x (batch, d...): data noised to ``sigma``, as this law has it.

        Differentiable in x.
        """

    def denoised(self, x: Tensor, sigma: float, process: str = "ve") -> Tensor:
        """E[x_0 | x] of x (batch, d...) at ``sigma``, as this law has it; like x.

        By Tweedie's formula from the density, (x + sigma^2 grad log p(x)) / alpha, unless a family knows better.
        """
        alpha = signal(sigma, process)
        with torch.inference_mode(False), torch.enable_grad():
            point = x.detach().clone().requires_grad_()
            [score] = torch.autograd.grad(self.log_likelihood(point, sigma, process).sum(), point)
        return (x + sigma**2 * score) / alpha

    def level(self, evaluations: int) -> float | None:
        """sigma / alpha where a trajectory of so many evaluations should begin: see `lgs.starts.Divergence.level`.

        Raises `lgs.InvalidArgument` where the divergence was never measured.
        """
        if "divergence" not in self.about:
            raise InvalidArgument(
                "start: expected one whose divergence from the model was measured, got one that was fitted without the "
                "model; say at which level to begin, or measure it with lgs.starts.divergence"
            )
        try:
            return Divergence.from_text(self.about["divergence"]).level(evaluations)
        except ValueError as problem:
            raise InvalidArgument(f"start: {problem} as its divergence; fit it again") from problem

    @abc.abstractmethod
    def save(self, file: str | PathLike[str]) -> None:
        """Writes it as safetensors, with ``about`` in its metadata: all of it or nothing."""


def signal(sigma: float, process: str) -> float:
    """alpha: how much of x_0 is in x at ``sigma``."""
    return 1 - sigma if process == "flow" else 1.0


def checked_levels(sigma: float, sigma_next: float | None, process: str) -> tuple[float, float]:
    """Both as floats; raises `lgs.InvalidArgument` unless 0 < ``sigma_next`` < ``sigma``, at most 1 for a flow."""
    Options(process=process)  # which refuses a name that is none
    sigma = check_number("sigma", sigma)
    top = 1.0 if process == "flow" else float("inf")
    if not 0 < sigma <= top or sigma == float("inf"):
        most = ", at most 1 for a flow" if process == "flow" else ""
        raise InvalidArgument(f"sigma: expected a noise level above 0{most}, got {sigma}")
    if sigma_next is None:
        return sigma, sigma
    sigma_next = check_number("sigma_next", sigma_next)
    if not 0 < sigma_next < sigma:
        raise InvalidArgument(
            f"sigma_next: expected a noise level above 0 and below the {sigma} of x, got {sigma_next}"
        )
    return sigma, sigma_next


def max_finite(sigma: float) -> float:
    """A level above sigma, for a check of it alone."""
    return 2 * abs(check_number("sigma", sigma)) + 1


def checked_items(x: Tensor, shape: torch.Size) -> Tensor:
    """x (batch, d...) as rows (batch, d), float32 at least, for items of this shape."""
    check_tensor("x", x)
    if not x.is_floating_point() or x.shape[1:] != shape or x.ndim == 0:
        raise InvalidArgument(
            f"x: expected a floating point tensor (batch, {', '.join(map(str, shape))}), as the start was fitted to, "
            f"got {x.dtype} {tuple(x.shape)}; a start is for one model and size"
        )
    if not x.isfinite().all():
        raise InvalidArgument("x: expected finite numbers, got NaN or infinity")
    return x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))
