"""KL of the laws of noises, against densities and against laws that are known. Takes two seconds."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from evidence.report import laws


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def exact():
    factor = normal(5, 4, 4)
    return factor @ factor.mT + 0.3 * torch.eye(4)


@pytest.fixture(scope="module")
def basis():
    return torch.linalg.qr(normal(4, 4, seed=1)).Q


def of(covariance):
    return MultivariateNormal(torch.zeros(4, dtype=torch.float64), covariance)


def test_the_kl_from_a_diagonal_gaussian(exact, basis):
    variances = normal(5, 4, seed=2).exp()

    found = laws.gaussian_kl(exact, basis, variances)

    other = basis.T @ torch.diag_embed(variances) @ basis
    torch.testing.assert_close(found, kl_divergence(of(exact), of((other + other.mT) / 2)))


def test_the_variances_are_read_off_a_draw(exact, basis):
    variances, z = normal(5, 4, seed=2).exp(), normal(5, 4, seed=3)
    drawn = z @ basis.T * variances.sqrt() @ basis

    found = laws.kl_to_diagonal(drawn, z, exact, basis)

    torch.testing.assert_close(found, laws.gaussian_kl(exact, basis, variances))


def test_a_linear_noise_is_read_off_unit_vectors(exact):
    matrix = normal(4, 4, seed=4)

    found = laws.kl_to_linear(lambda x, z: z @ matrix.T, normal(5, 4), exact)

    torch.testing.assert_close(found, kl_divergence(of(exact), of(matrix @ matrix.T)))


def test_a_linear_noise_as_a_homogeneous_one(exact):
    """Its KL the other way round; each draw estimates it without bias."""
    matrix = torch.linalg.cholesky(exact[0]) @ (torch.eye(4) + 0.2 * normal(4, 4, seed=5))
    if torch.linalg.det(matrix) < 0:
        matrix[:, 0] *= -1
    many = 40_000
    x = torch.zeros(many, 4, dtype=torch.float64)

    found = laws.kl_of_homogeneous(lambda x, z: z @ matrix.T, x, normal(many, 4, seed=6), exact[0].expand(many, -1, -1))

    expected = kl_divergence(of(matrix @ matrix.T), of(exact[0]))
    error = found.std() / math.sqrt(many)
    assert abs(found.mean() - expected) < 4 * error < 0.2 * expected


def test_a_noise_that_is_homogeneous_and_not_linear():
    """y = |z| R(z / |z|) in the plane, R a smooth change of angle and length; the KL by quadrature over the angle."""

    def noise(x, z):
        angle = torch.atan2(z[:, 1], z[:, 0])
        length = z.norm(dim=1) * (1 + 0.2 * torch.cos(2 * angle))
        turned = angle + 0.3 * torch.sin(2 * angle)
        return torch.stack([length * turned.cos(), length * turned.sin()], dim=1)

    def angles(count):
        grid = (torch.arange(count, dtype=torch.float64) + 0.5) * (2 * math.pi / count)
        return torch.stack([grid.cos(), grid.sin()], dim=1)

    # d log r, d angle: log |det y'| = log(stretch^2 d turned / d angle); E|z|^2 = 2, Sigma = I.
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) * (2 * math.pi / 2000)
    stretch = 1 + 0.2 * torch.cos(2 * grid)
    expected = (stretch**2 - 1 - (stretch**2 * (1 + 0.6 * torch.cos(2 * grid))).log()).mean()

    z = 2.5 * angles(500)
    found = laws.kl_of_homogeneous(noise, torch.zeros_like(z), z, torch.eye(2, dtype=torch.float64).expand(500, -1, -1))

    assert expected > 0.05
    assert found.mean().item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_noise_that_folds_is_refused(exact):
    with pytest.raises(ArithmeticError, match="one to one"):
        laws.kl_of_homogeneous(lambda x, z: z.abs(), normal(5, 4), normal(5, 4, seed=7), exact)
