"""A VAE for a model that works in pixels: nothing to encode or decode but range and layout."""

from __future__ import annotations

import torch
from comfy.model_management import intermediate_device
from torch import Tensor


class PixelVAE:
    """What ComfyUI's VAE nodes call, for latents (batch, 1, height, width) in -1..1.

    Images are ComfyUI's: (batch, height, width, channels) in 0..1.
    """

    latent_channels = 1
    latent_dim = 2
    downscale_ratio = 1
    upscale_ratio = 1

    def decode(self, samples: Tensor, vae_options: dict | None = None) -> Tensor:
        """Grey images, as three equal channels."""
        if samples.ndim != 4 or samples.shape[1] != 1:
            raise ValueError(
                "the VAE of LGS Demo Model: expected a latent of shape (batch, 1, height, width), "
                f"got {tuple(samples.shape)}. It decodes what the LGS demo model made; other models have their own VAE."
            )
        grey = (samples.to(intermediate_device(), torch.float32) + 1.0) / 2.0
        return grey.clamp(0.0, 1.0).movedim(1, -1).repeat(1, 1, 1, 3)

    def encode(self, pixels: Tensor) -> Tensor:
        """The mean of the colour channels; alpha, where there is one, is left out."""
        grey = pixels[..., :3].to(intermediate_device(), torch.float32).mean(dim=-1)
        return grey[:, None] * 2.0 - 1.0

    def decode_tiled(self, samples: Tensor, **_tiles) -> Tensor:
        return self.decode(samples)

    def encode_tiled(self, pixels: Tensor, **_tiles) -> Tensor:
        return self.encode(pixels)

    def spacial_compression_decode(self) -> int:
        return self.upscale_ratio

    def spacial_compression_encode(self) -> int:
        return self.downscale_ratio

    def temporal_compression_decode(self) -> None:
        return None
