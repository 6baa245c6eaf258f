"""The bundled model: handwritten digits, class-conditional, in pixels, at 32 x 32.

A real diffusion model small enough to ship, so that the sampler can be tried, tested and
shown with nothing downloaded. How it was trained: ``models/digits.md`` beside its weights.

`DigitUNet` is the bare network F, with the call signature ComfyUI gives its diffusion models;
`Digits` puts EDM's preconditioning around it and is a k-diffusion denoiser, D(x, sigma).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 32
"""Height and width of an image, in pixels. One channel, black -1 and white +1."""

SIGMA_DATA = 0.5
"""EDM's sigma_data: the scale the preconditioning assumes for the data."""

SIGMA_MIN, SIGMA_MAX = 0.02, 40.0
"""Noise levels the model was trained for."""

CLASSES = 10
UNLABELLED = CLASSES
"""Label of "any digit", learnt by dropping labels in training."""


def label_context(labels: Tensor) -> Tensor:
    """One-hot context (batch, 1, 11) for integer labels (batch,); ``UNLABELLED`` is the last."""
    return F.one_hot(labels.long(), CLASSES + 1).to(torch.float32)[:, None, :]


def _begin_at_zero(layer: nn.Module) -> None:
    """Its answer, as long as nothing is learnt."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class ResBlock(nn.Module):
    """GroupNorm, SiLU, 3 x 3 convolution, twice, modulated by the noise and class embedding."""

    def __init__(self, channels_in: int, channels: int, embedding: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        _begin_at_zero(self.conv2)
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Self-attention over the pixels, written out.

    Not PyTorch's fused kernel: that has no forward-mode formula, and 64 tokens need none.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        _begin_at_zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w).unbind(1)
        weights = torch.softmax(q.transpose(-1, -2) @ k / math.sqrt(c // self.heads), dim=-1)
        return x + self.out((v @ weights.transpose(-1, -2)).reshape(b, c, h, w))


class DigitUNet(nn.Module):
    """The bare network F(c_in x, c_noise, context): a two-level UNet on 2 x 2 pixel blocks."""

    frequencies: Tensor

    def __init__(self, channels: int = 1, width: int = 32, inner: int = 96, embedding: int = 128):
        super().__init__()
        self.register_buffer("frequencies", torch.randn(embedding // 2) * 2.0)
        self.noise = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Linear(CLASSES + 1, embedding, bias=False)
        self.conv_in = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.down1 = ResBlock(width, width, embedding)
        self.down2 = ResBlock(width, width, embedding)
        self.shrink = nn.Conv2d(width, inner, 3, stride=2, padding=1)
        self.inner1 = ResBlock(inner, inner, embedding)
        self.attention1 = Attention(inner, heads=4)
        self.inner2 = ResBlock(inner, inner, embedding)
        self.attention2 = Attention(inner, heads=4)
        self.inner3 = ResBlock(inner, inner, embedding)
        self.grow = nn.Conv2d(inner, 4 * width, 1)
        self.up1 = ResBlock(2 * width, width, embedding)
        self.up2 = ResBlock(2 * width, width, embedding)
        self.norm_out = nn.GroupNorm(8, width)
        self.conv_out = nn.Conv2d(width, 4 * channels, 3, padding=1)
        _begin_at_zero(self.conv_out)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **_host) -> Tensor:
        """x (batch, channels, 32, 32), timesteps (batch,) = ln(sigma) / 4, context (batch, 1, 11).

        ``_host`` takes what ComfyUI hands every model (control, transformer_options, ...).
        """
        phase = timesteps[:, None].to(x) * self.frequencies.to(x)
        embedding = self.noise(torch.cat([phase.cos(), phase.sin()], dim=1))
        embedding = F.silu(embedding + self.label(context.to(x.dtype).mean(dim=1)))
        h0 = self.conv_in(F.pixel_unshuffle(x, 2))
        h1 = self.down1(h0, embedding)
        h2 = self.down2(h1, embedding)
        h = self.inner1(self.shrink(h2), embedding)
        h = self.inner2(self.attention1(h), embedding)
        h = self.inner3(self.attention2(h), embedding)
        h = F.pixel_shuffle(self.grow(h), 2)
        h = self.up1(torch.cat([h, h2], dim=1), embedding)
        h = self.up2(torch.cat([h, h1], dim=1), embedding)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), 2)


class Digits:
    """D(x, sigma) = E[x_0 | x], the posterior mean, with EDM's preconditioning.

    Source: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models"
    (arXiv 2206.00364), table 1.

    ``labels`` (batch,) integers choose the digits, ``UNLABELLED`` any; with ``guidance`` other
    than 1 the labelled and the unlabelled mean are combined (classifier-free guidance).
    """

    def __init__(self, unet: DigitUNet, labels: Tensor, guidance: float = 1.0):
        self.unet = unet
        self.context = label_context(labels)
        self.unlabelled = label_context(torch.full_like(labels, UNLABELLED))
        self.guidance = guidance

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        denoised = self.denoise(x, sigma, self.context)
        if self.guidance == 1.0:
            return denoised
        unlabelled = self.denoise(x, sigma, self.unlabelled)
        return unlabelled + self.guidance * (denoised - unlabelled)

    def denoise(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        """x (batch, 1, 32, 32), sigma (batch,), context (batch, 1, 11)."""
        c_noise = sigma.log() / 4
        sigma = sigma[:, None, None, None]
        total = sigma**2 + SIGMA_DATA**2
        c_skip = SIGMA_DATA**2 / total
        c_out = sigma * SIGMA_DATA / total.sqrt()
        return c_skip * x + c_out * self.unet(x / total.sqrt(), c_noise, context)


def load_unet(file: str | Path, dtype: torch.dtype = torch.float32) -> DigitUNet:
    """The trained network from its safetensors file, for evaluation, on the CPU."""
    from safetensors.torch import load_file

    unet = DigitUNet()
    unet.load_state_dict(load_file(file))
    return unet.to(dtype).eval().requires_grad_(False)
