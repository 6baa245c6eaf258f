"""`lgs.principal_components`: the directions in which x_0 varies most, against closed forms."""

import pytest
import torch

import lgs

from .gaussian import Gaussian, alpha_of

D = 64


@pytest.mark.parametrize(("process", "sigma"), [("ve", 2.0), ("flow", 0.9)])
@pytest.mark.parametrize("jvp", ["finite-difference", "forward"])
def test_the_leading_ones_are_those_of_the_posterior(process, sigma, jvp):
    gaussian = Gaussian(D, 1.6)
    x, z = torch.randn(2, 3, D, dtype=torch.float64)
    options = {"process": process, "jvp": jvp, "lanczos_steps": 12}
    mean, variances, components = lgs.principal_components(gaussian.denoiser(process), x, sigma, z, options)
    posterior = 1 / (1 / gaussian.eigenvalues + alpha_of(process, sigma) ** 2 / sigma**2)
    torch.testing.assert_close(mean, gaussian.denoiser(process)(x, torch.full((3,), sigma)))
    assert variances.shape == (3, 12) and components.shape == (3, 12, D)
    torch.testing.assert_close(variances[:, :2], posterior[:2].expand(3, 2), rtol=1e-3, atol=0)
    overlaps = (components[:, :2] @ gaussian.vectors[:, :2]).abs()
    torch.testing.assert_close(overlaps, torch.eye(2, dtype=torch.float64).expand(3, 2, 2), rtol=0, atol=0.05)


def test_what_it_costs_and_for_whom_it_remembers():
    calls = []
    x, z = torch.randn(2, 2, 3, 4, 5)

    class Network:
        pass

    network = Network()
    for _ in range(2):
        calls.clear()

        def denoise(x, sigma):
            calls.append(len(x))
            return 0.5 * x.tanh()

        mean, variances, components = lgs.principal_components(denoise, x, 1.0, z, {"lanczos_steps": 4}, model=network)
    assert sum(calls) in (2 * 4, 2 * 5), "forward mode gives the mean with the first product"
    assert (mean.shape, variances.shape, components.shape) == (x.shape, (2, 4), (2, 4, *x.shape[1:]))
    assert mean.dtype == variances.dtype == components.dtype == torch.float32


def test_what_cannot_be_used_is_named():
    denoise = Gaussian(D, 1.6).denoiser()
    x = torch.randn(2, D)
    for arguments, error, words in [
        ((x, 1.0, x[:, :3]), lgs.InvalidArgument, "z: expected shape"),
        ((x, -1.0, x), lgs.InvalidArgument, "not negative"),
        ((x, "high", x), lgs.InvalidType, "sigma: expected a number"),
        ((x, 1.0, None), lgs.InvalidType, "z: expected a torch.Tensor"),
    ]:
        with pytest.raises(error, match=words):
            lgs.principal_components(denoise, *arguments)
    with pytest.raises(ZeroDivisionError):
        lgs.principal_components(lambda x, sigma: 1 / 0, x, 1.0, x)
