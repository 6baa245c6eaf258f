import pytest
import torch

import lgs.digits
from evidence.models.mnist import held_out_digits

from . import assembled


@pytest.fixture(scope="session")
def digit_weights():
    """The bundled model's file, as the drop-in folder ships it."""
    return assembled.FOLDER / "models" / "digits.safetensors"


@pytest.fixture(scope="session")
def digits(digit_weights):
    """The bundled model as a denoiser of ten digits, 0 to 9."""
    return lgs.digits.Digits(lgs.digits.load_unet(digit_weights), torch.arange(10))


@pytest.fixture(scope="session")
def real_digits():
    """Ten held-out digits, 0 to 9: (10, 1, 32, 32)."""
    return held_out_digits()[0][::500]
