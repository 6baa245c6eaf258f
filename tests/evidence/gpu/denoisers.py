"""The models that the checks and the timings sample from: D(x, sigma) = E[x_0 | x].

None of them waits for the device, and each takes a batch that is a multiple of its own: an engine may
evaluate several points in one call.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from torch import Tensor

import lgs.digits
from evidence.models import DIGITS
from evidence.models.in_precision import InPrecision

from . import unet


class Gaussian:
    """x_0 ~ N(0, C) in a random basis, eigenvalues proportional to k^-1.6 with mean 0.25: everything
    about it is known in closed form. x is (batch, dimension)."""

    def __init__(self, dimension: int, device: torch.device | str, dtype: torch.dtype = torch.float64):
        spectrum = torch.arange(1, dimension + 1, dtype=torch.float64) ** -1.6
        normal = torch.randn(dimension, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.eigenvalues = (spectrum / spectrum.mean() * 0.25).to(device, dtype)
        self.vectors = torch.linalg.qr(normal)[0].to(device, dtype)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.times(self.eigenvalues / (self.eigenvalues + sigma[:, None] ** 2), x)

    def times(self, values: Tensor, x: Tensor) -> Tensor:
        """The matrix with these eigenvalues, times x."""
        return ((x @ self.vectors) * values) @ self.vectors.T

    def product(self, sigma: float, v: Tensor) -> Tensor:
        """J v."""
        return self.times(self.eigenvalues / (self.eigenvalues + sigma**2), v)

    def reverse_noise(self, sigma: float, sigma_next: float, eta: float, z: Tensor) -> Tensor:
        """Sigma^(1/2) z of the step: x_s | x_t, x_0 has mean (1 - a) x_0 + a x_t and variance eta^2 v."""
        v = (sigma**2 - sigma_next**2) * sigma_next**2 / sigma**2
        a = (sigma_next**2 - eta**2 * v) ** 0.5 / sigma
        posterior = self.eigenvalues * sigma**2 / (self.eigenvalues + sigma**2)
        return self.times((eta**2 * v + (1 - a) ** 2 * posterior).sqrt(), z)


class Digits(InPrecision):
    """The bundled model, ten digits, 0 to 9, again and again; its network computes in ``dtype`` or, as
    in ComfyUI, in ``network_dtype`` while x stays what it is."""

    def __init__(self, device: torch.device | str, dtype: torch.dtype, network_dtype: torch.dtype | None = None):
        network = lgs.digits.DigitUNet()
        network.load_state_dict(read_safetensors(DIGITS))
        network = network.to(device, network_dtype or dtype).eval().requires_grad_(False)
        super().__init__(network, torch.arange(10, device=device))


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file, without the package: a length, a header in JSON, then the numbers."""
    content = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    dtypes = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    tensors = {}
    for name, entry in header.items():
        first, end = (start + offset for offset in entry["data_offsets"])
        tensors[name] = torch.frombuffer(content[first:end], dtype=dtypes[entry["dtype"]]).reshape(entry["shape"])
    return tensors


class LatentDiffusion:
    """Stable Diffusion's denoiser around a UNet with random weights, conditioned on 77 random tokens.

    x is float32 whatever the network computes in, as in ComfyUI.
    """

    def __init__(self, config: unet.Config, device: torch.device, dtype: torch.dtype, seed: int = 0):
        self.dtype = dtype
        self.unet = unet.build(config, device, dtype, seed)
        generator = torch.Generator(device).manual_seed(seed + 1)
        self.context = torch.randn(1, 77, config.context, generator=generator, device=device, dtype=dtype)
        self.vector = torch.randn(1, config.vector, generator=generator, device=device, dtype=dtype)
        self.log_sigmas = log_sigmas().to(device, torch.float32)

    def moved(self, device: torch.device, dtype: torch.dtype) -> LatentDiffusion:
        """The same weights elsewhere, in another precision: random numbers differ from device to device."""
        twin = copy.deepcopy(self)
        twin.dtype = dtype
        twin.unet.to(device, dtype)
        twin.context, twin.vector = self.context.to(device, dtype), self.vector.to(device, dtype)
        twin.log_sigmas = self.log_sigmas.to(device)
        return twin

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.unet.parameters())

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        batch = len(x)
        level = sigma[:, None, None, None]
        scaled = (x / (level**2 + 1).sqrt()).to(self.dtype)
        context, vector = self.context.expand(batch, -1, -1), self.vector.expand(batch, -1)
        eps = self.unet(scaled, self.timestep(sigma), context, vector)
        return x - level * eps.to(x.dtype)

    def timestep(self, sigma: Tensor) -> Tensor:
        return timestep(self.log_sigmas, sigma)


def log_sigmas() -> Tensor:
    """Of Stable Diffusion's 1000 noise levels, sqrt(beta) linear; in float64."""
    beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha = (1 - beta).cumprod(0)
    return ((1 - alpha) / alpha).log() / 2


def timestep(log_sigmas: Tensor, sigma: Tensor) -> Tensor:
    """Where sigma lies among the noise levels, from 0 to 999, linear in log sigma; in their dtype."""
    log_sigma = sigma.to(log_sigmas.dtype).log()
    upper = torch.searchsorted(log_sigmas, log_sigma).clamp(1, 999)
    below, above = log_sigmas[upper - 1], log_sigmas[upper]
    return (upper - 1 + (log_sigma - below) / (above - below)).clamp(0, 999)
