"""The posterior mean D(x, sigma), from what a model predicts."""

from __future__ import annotations

from torch import Tensor


def posterior_mean(prediction_type: str, output: Tensor, x: Tensor, sigma: float) -> Tensor:
    """D(x, sigma) for the model's output at x, both (batch, ...), in x's dtype.

    x = x_0 + sigma noise, and for a flow x = (1 - sigma) x_0 + sigma noise. ``"epsilon"`` is the noise,
    ``"flow_prediction"`` noise - x_0, ``"sample"`` x_0, and ``"v_prediction"`` (noise - sigma x_0) / sqrt(1 + sigma^2)
    (arXiv 2202.00512, appendix D).
    """
    output = output.to(x.dtype)
    if prediction_type in ("epsilon", "flow_prediction"):
        return x - sigma * output
    if prediction_type == "v_prediction":
        return x / (sigma**2 + 1) - (sigma / (sigma**2 + 1) ** 0.5) * output
    return output
