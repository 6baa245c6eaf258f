"""Noise levels of a trajectory that starts below the first of them."""

from __future__ import annotations

import torch
from torch import Tensor

from .._arguments import check_number
from ..errors import InvalidArgument


def respaced(sigmas: Tensor, sigma_next: float) -> Tensor:
    """``sigmas`` (n + 1,), falling, with a jump from the first to ``sigma_next`` and then n steps to the same end:
    (n + 2,), like ``sigmas``.

    The n steps are of the schedule's own shape: ln sigma over the step's number, interpolated by a monotone cubic, is
    read at evenly spaced numbers from where it has ``sigma_next``. Exact for an exponential schedule. A last level of 0
    stays. A schedule that starts at or below ``sigma_next`` comes back as it is.

    Raises `lgs.InvalidArgument` for levels that do not fall, or a ``sigma_next`` that is not above the last positive
    one, below which the schedule has no shape.
    """
    sigma_next = check_number("sigma_next", sigma_next)
    levels = sigmas.detach().double().cpu()
    falls = levels.ndim == 1 and len(levels) > 1 and bool((levels.diff() < 0).all())
    if not falls or not levels.isfinite().all() or levels[-1] < 0:
        raise InvalidArgument(f"sigmas: expected at least two noise levels that fall, got {levels.tolist()[:8]}")
    if not sigma_next > 0:
        raise InvalidArgument(f"sigma_next: expected a noise level above 0, got {sigma_next}")
    if sigma_next >= levels[0]:
        return sigmas
    positive = levels[levels > 0]
    zero = levels[len(positive) :]
    if len(positive) > 1 and sigma_next <= positive[-1]:
        raise InvalidArgument(
            f"sigma_next: expected a level above {positive[-1]:.4g}, the last positive one of the schedule, got "
            f"{sigma_next:.4g}. Start higher, or let the schedule go lower."
        )
    steps = _read_from(positive, sigma_next) if len(positive) > 1 else levels.new_tensor([sigma_next])
    return torch.cat([positive[:1], steps, zero]).to(sigmas.device, sigmas.dtype)


def _read_from(levels: Tensor, sigma_next: float) -> Tensor:
    """As many levels as there are, of the same shape from ``sigma_next`` to the same end."""
    from scipy.interpolate import PchipInterpolator
    from scipy.optimize import root_scalar

    last = len(levels) - 1
    log_sigma = PchipInterpolator(range(last + 1), levels.log().numpy())
    target = levels.new_tensor(sigma_next).log().item()
    beyond = lambda number: float(log_sigma(number)) - target  # noqa: E731
    place = root_scalar(beyond, method="brentq", bracket=(0, last), xtol=1e-12).root
    read = torch.linspace(place, last, last + 1, dtype=torch.float64)
    steps = torch.from_numpy(log_sigma(read.numpy())).exp()
    steps[0], steps[-1] = sigma_next, levels[-1]  # to the last bit
    return steps
