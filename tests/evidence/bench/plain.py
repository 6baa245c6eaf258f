"""The same algorithm in plain PyTorch: what the engine's own cost is compared with.

One Lanczos Gaussian step as one would write it in Python, with finite differences, a fully
orthogonalised basis (twice), the free extra vector and an eigendecomposition in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reverse_step(
    denoise, x: Tensor, sigma: float, sigma_next: float, z: Tensor, steps: int, eta: float = 1.0
) -> Tensor:
    """x (batch, ...) at sigma to sigma_next, variance-exploding."""
    batch, dimension = x.shape[0], x[0].numel()
    level = torch.full((batch,), sigma, dtype=x.dtype, device=x.device)
    v_step = sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2
    factor_x = (sigma_next**2 - eta**2 * v_step) ** 0.5 / sigma
    factor_denoised = 1 - factor_x
    covariance = factor_denoised**2 * sigma**2

    denoised = denoise(x, level)
    length = 3e-3 * sigma * dimension**0.5

    def matvec(v):
        v = v.view(x.shape)
        h = length / torch.linalg.vector_norm(v, dim=tuple(range(1, x.ndim)), keepdim=True).clamp_min(1e-20)
        return ((denoise(x + h * v, level) - denoised) / h).reshape(batch, dimension)

    flat = z.reshape(batch, dimension)
    norm = flat.norm(dim=1)
    basis = x.new_zeros(batch, steps + 1, dimension)
    v = flat / norm.clamp_min(1e-38)[:, None]
    basis[:, 0] = v
    diagonal, beside, largest = [], [], None
    for k in range(1, steps + 1):
        w = matvec(v)
        a = (w * v).sum(1)
        seen = basis[:, :k]
        for _ in range(2):
            w = w - (torch.bmm(seen, w[:, :, None]).transpose(1, 2) @ seen)[:, 0]
        b = w.norm(dim=1)
        magnitude = torch.maximum(a.abs(), b)
        largest = magnitude if largest is None else torch.maximum(largest, magnitude)
        exhausted = b <= largest * 2e-6
        b = b.masked_fill(exhausted, 0.0)
        v = w.masked_fill(exhausted[:, None], 0.0) / b.clamp_min(1e-38)[:, None]
        basis[:, k] = v
        diagonal.append(a)
        beside.append(b)

    finite = denoised.reshape(batch, dimension).isfinite().all(1).to(x.dtype)
    table = torch.stack([*diagonal, *beside, norm, finite]).cpu().double()
    if not table.isfinite().all() or (table[-1] == 0).any():
        raise ValueError("the model returned NaN or infinity")

    # a_{K+1}: a_K, or the least that a positive semidefinite T allows.
    pivot, definite = table[0], table[0] > 0
    for k in range(1, steps):
        pivot = table[k] - table[steps + k - 1] ** 2 / pivot
        definite = definite & (pivot > 0)
    guess = torch.where(definite, torch.maximum(table[steps - 1], table[2 * steps - 1] ** 2 / pivot), table[steps - 1])

    def coefficients(size):
        t = torch.zeros(batch, size, size, dtype=torch.float64)
        for k in range(size):
            t[:, k, k] = table[k] if k < steps else guess
            if k + 1 < size:
                t[:, k, k + 1] = t[:, k + 1, k] = table[steps + k]
        theta, w = torch.linalg.eigh(t)
        f = (eta**2 * v_step + covariance * theta.clamp_min(0)).sqrt()
        return (w @ (f * w[:, 0])[:, :, None])[:, :, 0]

    larger = coefficients(steps + 1)
    plain = torch.nn.functional.pad(coefficients(steps), (0, 1))
    _error = ((larger - plain).norm(dim=1) / larger.norm(dim=1).clamp_min(1e-300)).max().item()
    weights = larger.to(x.dtype).to(x.device) * norm[:, None]
    noise = torch.bmm(weights[:, None], basis)[:, 0].view(x.shape)
    return factor_x * x + factor_denoised * denoised + noise
