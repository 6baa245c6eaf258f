"""Stable Diffusion's UNet, as its papers and published configurations describe it, with random weights.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (arXiv 2112.10752), and
Podell et al., "SDXL" (arXiv 2307.01952). It costs what the real one costs, in time and in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Config:
    channels: tuple[int, ...]
    """Channels of each level; each level has half the resolution of the one before."""
    depths: tuple[int, ...]
    """Transformer blocks after each residual block of a level; 0: none."""
    middle_depth: int
    context: int
    """Size of a text token."""
    head_size: int | None = None
    """Size of an attention head; None: 8 heads, whatever their size."""
    vector: int = 0
    """Size of the conditioning that is added to the time embedding (SDXL's pooled text and sizes)."""

    def heads(self, channels: int) -> int:
        return 8 if self.head_size is None else channels // self.head_size


SD15 = Config((320, 640, 1280, 1280), (1, 1, 1, 0), middle_depth=1, context=768)
SDXL = Config((320, 640, 1280), (0, 2, 10), middle_depth=10, context=2048, head_size=64, vector=2816)
# The same in small, for machines without a GPU.
SMALL_SD15 = Config((32, 64), (1, 0), middle_depth=1, context=16)
SMALL_SDXL = Config((32, 64), (0, 2), middle_depth=2, context=24, head_size=16, vector=12)

LATENT = 4
"""Channels of a latent."""

RESIDUAL_GAIN = 0.3
"""Scale of what a residual branch adds, so that activations stay near 1 through all layers."""


class ResBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, embedding: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(32, channels_in)
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.embedding = nn.Linear(embedding, channels)
        self.norm2 = nn.GroupNorm(32, channels)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv(F.silu(self.norm1(x))) + self.embedding(F.silu(embedding))[:, :, None, None]
        return self.skip(x) + self.out(F.silu(self.norm2(h)))


class Attention(nn.Module):
    def __init__(self, channels: int, context: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels, bias=False)
        self.k = nn.Linear(context, channels, bias=False)
        self.v = nn.Linear(context, channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for tokens in (self.q(x), self.k(context), self.v(context))
        )
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """GEGLU (arXiv 2002.05202)."""

    def __init__(self, channels: int):
        super().__init__()
        self.gated = nn.Linear(channels, 8 * channels)
        self.out = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.gated(x).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


class TransformerBlock(nn.Module):
    def __init__(self, channels: int, config: Config):
        super().__init__()
        heads = config.heads(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.among_pixels = Attention(channels, channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.to_text = Attention(channels, config.context, heads)
        self.norm3 = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.among_pixels(h, h)
        x = x + self.to_text(self.norm2(x), context)
        return x + self.feed_forward(self.norm3(x))


class Transformer(nn.Module):
    def __init__(self, channels: int, depth: int, config: Config):
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.into = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList(TransformerBlock(channels, config) for _ in range(depth))
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.into(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.blocks:
            h = block(h, context)
        return x + self.out(h).transpose(1, 2).reshape(x.shape)


class Stage(nn.Module):
    """A residual block and the transformer after it, if any."""

    def __init__(self, channels_in: int, channels: int, depth: int, config: Config):
        super().__init__()
        self.residual = ResBlock(channels_in, channels, 4 * config.channels[0])
        self.transformer = Transformer(channels, depth, config) if depth else None

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor) -> Tensor:
        x = self.residual(x, embedding)
        return x if self.transformer is None else self.transformer(x, context)


class UNet(nn.Module):
    """The noise prediction eps(x, t, context, vector)."""

    def __init__(self, config: Config):
        super().__init__()
        self.width = config.channels[0]
        self.time = embedder(self.width, 4 * self.width)
        self.vector = embedder(config.vector, 4 * self.width) if config.vector else None
        self.conv_in = nn.Conv2d(LATENT, self.width, 3, padding=1)
        levels = list(zip(config.channels, config.depths, strict=True))
        skips, now = [self.width], self.width
        self.down = nn.ModuleList()
        for level, (channels, depth) in enumerate(levels):
            if level > 0:
                self.down.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                skips.append(now)
            for _ in range(2):
                self.down.append(Stage(now, channels, depth, config))
                skips.append(channels)
                now = channels
        self.middle = nn.ModuleList([Stage(now, now, config.middle_depth, config), Stage(now, now, 0, config)])
        self.up = nn.ModuleList()
        for level, (channels, depth) in reversed(list(enumerate(levels))):
            for _ in range(3):
                self.up.append(Stage(now + skips.pop(), channels, depth, config))
                now = channels
            if level > 0:
                self.up.append(nn.Conv2d(now, now, 3, padding=1))
        self.norm_out = nn.GroupNorm(32, self.width)
        self.conv_out = nn.Conv2d(self.width, LATENT, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor:
        """x (batch, 4, height, width), t (batch,) from 0 to 999, context (batch, tokens, size),
        vector (batch, size)."""
        embedding = self.time(sinusoids(t, self.width).to(x.dtype))
        if self.vector is not None:
            embedding = embedding + self.vector(vector)
        h = self.conv_in(x)
        skips = [h]
        for block in self.down:
            h = block(h, embedding, context) if isinstance(block, Stage) else block(h)
            skips.append(h)
        for block in self.middle:
            h = block(h, embedding, context)
        for block in self.up:
            if isinstance(block, Stage):
                h = block(torch.cat([h, skips.pop()], dim=1), embedding, context)
            else:
                h = block(F.interpolate(h, scale_factor=2, mode="nearest"))
        return self.conv_out(F.silu(self.norm_out(h)))


def embedder(size: int, embedding: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, embedding), nn.SiLU(), nn.Linear(embedding, embedding))


def sinusoids(t: Tensor, size: int) -> Tensor:
    """(batch, size): cos and sin of t at frequencies from 1 down to 1e-4."""
    steps = torch.arange(size // 2, dtype=torch.float32, device=t.device)
    phase = t.float()[:, None] * (-math.log(1e4) / (size // 2) * steps).exp()
    return torch.cat([phase.cos(), phase.sin()], dim=1)


def build(config: Config, device: torch.device, dtype: torch.dtype, seed: int = 0) -> UNet:
    """A UNet with random weights, made where it stays."""
    with torch.device("meta"):
        unet = UNet(config)
    unet = unet.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(seed)
    for name, module in unet.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            gain = RESIDUAL_GAIN if name.endswith(".out") else 1.0
            module.weight.normal_(0.0, gain / math.sqrt(module.weight[0].numel()), generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            module.weight.fill_(1.0)
            module.bias.zero_()
    return unet
