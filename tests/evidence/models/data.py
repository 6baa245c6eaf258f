"""The data sets that the small models are trained on, and the networks for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from os import PathLike

import torch
from safetensors.torch import load_file
from torch import Tensor

from lgs.digits import DigitUNet

from . import cifar, mnist

Labelled = tuple[Tensor, Tensor]
"""Images (n, channels, 32, 32) in [-1, 1] and labels (n,), 0 to 9."""


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Pictures of ten kinds, and the denoiser that is trained on them."""

    channels: int
    training: Callable[[], Labelled]
    held_out: Callable[[], Labelled]
    network: Callable[[], DigitUNet]
    augmented: Callable[[Tensor], Tensor]
    """Other pictures that are as likely, for a batch of training ones."""

    def trained(self, weights: str | PathLike[str]) -> DigitUNet:
        """The trained network from its safetensors file, for evaluation, in float32 on the CPU."""
        network = self.network()
        network.load_state_dict(load_file(weights))
        return network.eval().requires_grad_(False)


def mirrored(images: Tensor) -> Tensor:
    """Each of the images (n, ...), or at random its mirror image."""
    tossed = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(tossed, images.flip(-1), images)


DATA_SETS = {
    "digits": DataSet(1, mnist.training_digits, mnist.held_out_digits, DigitUNet, lambda images: images),
    "cifar": DataSet(3, cifar.training_pictures, cifar.held_out_pictures, cifar.PictureUNet, mirrored),
}
