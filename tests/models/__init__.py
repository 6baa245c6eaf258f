"""The small trained models that the demo and the tests use, how they were trained, and on what.

    digits.safetensors            the diffusion model of handwritten digits (network: `lgs.digits`)
    digits-diagonal.safetensors   the diagonal of its posterior covariance (network: `lgs.diagonal`)
    classifier.safetensors        reads a digit; its features are what distances are measured in
    cifar.safetensors             the diffusion model of CIFAR-10's photographs, float16 (network: `models.cifar`)
    cifar-diagonal.safetensors    the diagonal of its posterior covariance
    cifar-classifier.safetensors  reads what is on one

Run with the folder ``tests`` on PYTHONPATH, for example ``python -m models.train_denoiser --help``.
The data come from package registries when they are needed (`models.data`); none are kept here.
"""

from pathlib import Path


def weights(data: str) -> Path:
    """Where the diffusion model of a data set (`models.data`) is."""
    return Path(__file__).with_name(f"{data}.safetensors")


def learned_diagonal(data: str) -> Path:
    """Where the diagonal of its posterior covariance is: `models.train_diagonal` writes it."""
    return Path(__file__).with_name(f"{data}-diagonal.safetensors")


DIGITS = weights("digits")
"""Weights of the bundled diffusion model, for `lgs.digits.load_unet`."""

CLASSIFIER = Path(__file__).with_name("classifier.safetensors")
"""Weights of the digit classifier, for `models.classifier.load_classifier`."""
