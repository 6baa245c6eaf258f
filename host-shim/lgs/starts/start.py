"""What all families of starts have in common."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import ClassVar

import torch
from torch import Tensor

from .._arguments import Denoiser, check_number, check_tensor
from ..errors import InvalidArgument, InvalidType
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
        sigma, _ = checked_levels(sigma, None, process)
        if process == "flow":
            return self.teleport(noise, 1.0, sigma, process)
        return (1 + sigma) * self.teleport(noise, 1.0, sigma / (1 + sigma), "flow")

    @abc.abstractmethod
    def teleport(self, x: Tensor, sigma: float, sigma_next: float, process: str = "ve") -> Tensor:
        """x at ``sigma_next`` for x (batch, d...) at ``sigma``, at no evaluation; like x.

        A map that takes the law of the noised data at ``sigma`` to that at ``sigma_next``, as the family knows it.
        Raises `lgs.InvalidArgument` where 0 < ``sigma_next`` < ``sigma`` does not hold, or x is of another shape.
        """

    def log_likelihood(self, x: Tensor, sigma: float, process: str = "ve") -> Tensor:
        """Log density (batch,), in nats, of x (batch, d...): data noised to ``sigma``, as this law has it.

        Differentiable in x.
        """
        rows, (sigma, _) = checked_items(x, self.shape), checked_levels(sigma, None, process)
        alpha, d = signal(sigma, process), rows.shape[1]
        if alpha == 0:  # nothing but noise
            return -0.5 * (rows.square().sum(dim=1) + d * math.log(2 * math.pi))
        return self._log_density(rows / alpha, sigma / alpha) - d * math.log(alpha)

    def denoised(self, x: Tensor, sigma: float, process: str = "ve") -> Tensor:
        """E[x_0 | x] of x (batch, d...) at ``sigma``, as this law has it; like x."""
        rows, (sigma, _) = checked_items(x, self.shape), checked_levels(sigma, None, process)
        alpha = signal(sigma, process)
        if alpha == 0:
            return self._mean().to(x).expand_as(x)
        return self._posterior_mean(rows / alpha, sigma / alpha).reshape(x.shape).to(x.dtype)

    def given(self, known: Tensor, mask: Tensor) -> Sequence[Start]:
        """The law of the rest of a picture of which a part is known: for each item of ``known`` (batch, d...).

        ``mask``, which broadcasts to ``known``, is above 0 where the picture is free. Raises `lgs.InvalidArgument` for
        a family that cannot be conditioned.
        """
        raise InvalidArgument(
            f"start: expected one that can take a part of the picture as known, got one of the family {self.family}, "
            "which cannot. Remove the mask, or fit a Gaussian start."
        )

    @abc.abstractmethod
    def _mean(self) -> Tensor:
        """Of the data, (d...)."""

    @abc.abstractmethod
    def _log_density(self, rows: Tensor, s: float) -> Tensor:
        """(batch,) of rows (batch, d) in the variance exploding convention, with noise of level s."""

    def _posterior_mean(self, rows: Tensor, s: float) -> Tensor:
        """E[x_0 | x] (batch, d) of such rows: by Tweedie's formula, x + s^2 grad log p(x), unless a family knows
        better."""
        with torch.inference_mode(False), torch.enable_grad():
            point = rows.detach().clone().requires_grad_()
            [score] = torch.autograd.grad(self._log_density(point, s).sum(), point)
        return rows + s**2 * score

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

    @classmethod
    @abc.abstractmethod
    def load(cls, file: str | PathLike[str]) -> Start:
        """The start of a file of this family. Raises `lgs.InvalidArgument` for one that is missing, damaged or of
        another kind."""

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


def checked_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Raises `lgs.InvalidArgument` or `lgs.InvalidType` unless all are finite floating point tensors."""
    for name, tensor in tensors.items():
        if not check_tensor(name, tensor).is_floating_point():
            raise InvalidType(f"{name}: expected a floating point tensor, got {tensor.dtype}")
        if not tensor.isfinite().all():
            raise InvalidArgument(f"{name}: expected finite numbers, got NaN or infinity")


def asked(denoise: Denoiser, x: Tensor, sigma: float, dtype: torch.dtype) -> Tensor:
    """What the model answers to x (batch, d...) at ``sigma``, given in ``dtype``; raises `lgs.InvalidArgument` for an
    answer that is none."""
    answers = denoise(x.to(dtype), torch.full((len(x),), sigma, device=x.device, dtype=dtype))
    if not isinstance(answers, Tensor) or answers.shape != x.shape or not answers.isfinite().all():
        came = f"{answers.dtype} {tuple(answers.shape)}" if isinstance(answers, Tensor) else type(answers).__name__
        raise InvalidArgument(f"denoise: expected a finite tensor of shape {tuple(x.shape)}, got {came}")
    return answers.detach()
