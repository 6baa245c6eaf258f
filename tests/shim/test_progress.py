"""What the callback is told of a step beside k-diffusion's: Ritz values and the covariance's share."""

import math

import pytest
import torch

import lgs

from .gaussian import Gaussian

D = 8


def step(options: dict, z: torch.Tensor, sigma: float = 0.5, sigma_next: float = 0.2) -> dict:
    """What the callback of a single step with this noise got."""
    seen = []
    denoise = Gaussian(D, 1.6).denoiser()
    lgs.sample(denoise, torch.ones_like(z), [sigma, sigma_next], options, noise=lambda *_: z, callback=seen.append)
    return seen[0]


def test_as_many_products_as_dimensions_tell_the_spectrum_of_the_jacobian():
    z = torch.randn(3, D, dtype=torch.float64)
    told = step({"lanczos_steps": D}, z)["ritz_values"]
    expected = (eigenvalues := Gaussian(D, 1.6).eigenvalues.sort().values) / (eigenvalues + 0.25)
    assert told.dtype == torch.float64
    torch.testing.assert_close(told, expected.expand(3, D), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("process", ["ve", "flow"])
def test_the_share_is_that_of_the_noise(process):
    gaussian, seen = Gaussian(D, 1.6), []
    x, z = torch.randn(2, 3, D, dtype=torch.float64)
    lgs.sample(
        gaussian.denoiser(process), x, [0.5, 0.2], {"process": process}, noise=lambda *_: z, callback=seen.append
    )
    noise = gaussian.reverse_noise(process, 0.5, 0.2, 1.0, z)
    alpha_t, alpha_s = (0.5, 0.8) if process == "flow" else (1.0, 1.0)
    v = (0.25 - (alpha_t / alpha_s * 0.2) ** 2) * 0.04 / 0.25
    share = 1 - v * (z**2).sum() / (noise**2).sum()
    assert seen[0]["covariance_share"] == pytest.approx(share.item(), abs=1e-5)


def test_each_step_has_its_own_and_keeps_it():
    """The numbers are the library's for the time of the callback only."""
    seen = []
    x = torch.randn(2, D)
    lgs.sample(Gaussian(D, 1.6).denoiser(), x, [5.0, 1.0, 0.2, 0.0], {"lanczos_steps": 2}, callback=seen.append)
    assert [tuple(p["ritz_values"].shape) for p in seen] == [(2, 2), (2, 2), (2, 0)]
    assert (seen[0]["ritz_values"].amax(dim=1) < seen[1]["ritz_values"].amax(dim=1)).all(), "J grows as sigma falls"
    assert [math.isnan(p["covariance_share"]) for p in seen] == [False, False, True]


def test_steps_that_are_isotropic_have_none():
    told = step({"covariance": "isotropic"}, torch.randn(3, D))
    assert told["covariance_share"] == 0
    assert told["ritz_values"].shape == (3, 0)


def test_all_of_the_noise_is_the_covariances_without_eta():
    assert step({"eta": 0.0}, torch.randn(3, D))["covariance_share"] == 1
