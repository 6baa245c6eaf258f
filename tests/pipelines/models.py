"""Predictions of a model whose posterior mean is known, as models of diffusers predict."""

from __future__ import annotations

import torch
from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow_prediction")


def posterior_mean(x: Tensor, sigma: float, is_flow: bool = False) -> Tensor:
    """Of two Gaussians of variance 0.04 at -1 and 1 in each number of an item; in x's dtype."""
    alpha = max(1 - sigma, 0.005) if is_flow else 1.0
    variance = 0.04 + (sigma / alpha) ** 2
    scaled = x.double() / alpha
    centre = (scaled / variance).tanh()
    return (centre + (scaled - centre) * (0.04 / variance)).to(x.dtype)


def predicted(prediction_type: str, x: Tensor, sigma: float) -> Tensor:
    """What a model that is right says at x, of its kind: by the definitions, from x_0 and the noise in x."""
    x_0 = posterior_mean(x, sigma, prediction_type == "flow_prediction")
    if prediction_type == "sample":
        return x_0
    if prediction_type == "flow_prediction":
        return (x - (1 - sigma) * x_0) / sigma - x_0
    noise = (x - x_0) / sigma
    if prediction_type == "epsilon":
        return noise
    # The angle between picture and noise, as variance preserving processes have it (arXiv 2202.00512, appendix D).
    angle = torch.atan(torch.tensor(sigma, dtype=torch.float64))
    return float(angle.cos()) * noise - float(angle.sin()) * x_0
