"""The small model of CIFAR-10's photographs, and the photographs where they have been downloaded."""

import pytest
import torch

from evidence.models import weights
from evidence.models.cifar import held_out_pictures
from evidence.models.data import DATA_SETS
from evidence.models.marks import needs_photographs
from lgs.digits import Digits

WEIGHTS = weights("cifar")


@pytest.fixture(scope="module")
def network():
    return DATA_SETS["cifar"].trained(WEIGHTS)


def test_weights_stay_small():
    assert WEIGHTS.stat().st_size < 10e6


def test_the_posterior_mean_is_x_where_there_is_no_noise_and_no_picture_where_there_is_nothing_else(network):
    x = torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    denoise = Digits(network, torch.arange(10))
    smooth = torch.nn.functional.interpolate(x[..., ::8, ::8], scale_factor=8, mode="bilinear")
    assert (denoise(smooth, torch.full((10,), 0.02)) - smooth).abs().mean() < 0.02
    blind = denoise(40 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), torch.full((10,), 40.0))
    assert blind.std(dim=(-2, -1)).mean() < 0.3 and blind.mean().abs() < 0.3


@needs_photographs
def test_held_out_photographs_are_denoised(network):
    images, labels = (part[:100] for part in held_out_pictures())
    assert images.shape[1:] == (3, 32, 32) and images.min() == -1 and images.max() == 1
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=generator)
    for sigma, most in ((0.1, 0.0035), (0.3, 0.012), (1.0, 0.04)):
        denoised = Digits(network, labels)(images + sigma * noise, torch.full((100,), sigma))
        assert (denoised - images).square().mean() < most
