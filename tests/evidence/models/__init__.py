"""The small trained models that the laboratory and the tests use, and the data that they were trained on.

Two ship with the product, and are read from the assembled folder (`SHIPPED`):

    digits.safetensors            the diffusion model of handwritten digits (network: `lgs.digits`)
    digits-diagonal.safetensors   the diagonal of its posterior covariance (network: `lgs.diagonal`)

The others are beside this file:

    classifier.safetensors        classifies a digit; distances are measured in its features
    cifar.safetensors             the diffusion model of CIFAR-10's photographs, float16 (network: `.cifar`)
    cifar-diagonal.safetensors    the diagonal of its posterior covariance
    cifar-classifier.safetensors  classifies a photograph

`evidence.training` has the programs that trained them. The data come from package registries when they are
needed (`.data`); none are kept here.
"""

from pathlib import Path

import lgs

PACK = Path(lgs.__file__).resolve().parent.parent
"""The assembled folder that `lgs` was imported from."""

SHIPPED = PACK / "models"
"""Weights that the product brings with it."""

BESIDE = Path(__file__).parent
"""Weights that are the laboratory's own."""


def weights(data: str) -> Path:
    """Where the diffusion model of a data set (`evidence.models.data`) is."""
    return _folder(data) / f"{data}.safetensors"


def learned_diagonal(data: str) -> Path:
    """Where the diagonal of its posterior covariance is."""
    return _folder(data) / f"{data}-diagonal.safetensors"


def _folder(data: str) -> Path:
    return SHIPPED if data == "digits" else BESIDE


DIGITS = weights("digits")
"""Weights of the bundled diffusion model, for `lgs.digits.load_unet`."""

CLASSIFIER = BESIDE / "classifier.safetensors"
"""Weights of the digit classifier, for `evidence.models.classifier.load_classifier`."""
