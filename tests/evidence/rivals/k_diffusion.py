"""The samplers of the PyPI package ``k-diffusion``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

from torch import Tensor


def sampling() -> ModuleType:
    """``k_diffusion.sampling``, without the package's own ``__init__``.

    That imports training and evaluation, and with them a dozen packages that sampling has no use for. So
    the package is entered into `sys.modules` as it is before its ``__init__`` runs.
    """
    if "k_diffusion" not in sys.modules:
        sys.modules["k_diffusion"] = importlib.util.module_from_spec(importlib.util.find_spec("k_diffusion"))
    return importlib.import_module("k_diffusion.sampling")


def sample(
    function: str,
    stochastic: bool,
    denoise: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    sigmas: Tensor,
    noise: Callable[..., Tensor],
) -> Tensor:
    """As `evidence.rivals.sample`."""
    own = {"noise_sampler": noise} if stochastic else {}
    return getattr(sampling(), function)(denoise, x, sigmas, disable=True, **own)
