"""The KL of every reverse kernel against Monte Carlo on densities, and the structure of each. Takes two seconds."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from evidence.report import kernels, laws
from evidence.report.mixture import separated_mixture

STEP = (2.0, 0.6)


@pytest.fixture(scope="module")
def model():
    return separated_mixture()


@pytest.fixture(scope="module")
def x(model):
    clean, eps = kernels.starts(model, 40, 0)
    return clean + STEP[0] * eps


@pytest.mark.parametrize("name", kernels.NAMES)
def test_the_kl_is_what_monte_carlo_finds(model, x, name):
    """By draws of the exact kernel, with the kernel of DDPM written out; within four standard errors."""
    sigma, sigma_next = STEP
    one = x[:1]
    weights, means, covariance = model.reverse(one, *STEP)
    label = torch.multinomial(weights[0], 40_000, replacement=True, generator=torch.Generator().manual_seed(1))
    normal = torch.randn(len(label), 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    draws = means[0][label] + normal @ torch.linalg.cholesky(covariance).T
    j = torch.autograd.functional.jacobian(lambda x: model.denoised(x[None], sigma)[0], one[0])
    v, c = sigma_next**2 * (1 - sigma_next**2 / sigma**2), (sigma - sigma_next**2 / sigma) ** 2
    full = v * torch.eye(8) + c * (j + j.T) / 2
    if name != "full":
        basis = kernels.basis_of(name, 8)
        full = basis.T @ torch.diag_embed(kernels.simplified(name, full[None], *STEP)[0]) @ basis
    mean = sigma_next**2 / sigma**2 * one[0] + (1 - sigma_next**2 / sigma**2) * model.denoised(one, sigma)[0]
    q = MixtureSameFamily(Categorical(weights[0]), MultivariateNormal(means[0], covariance))
    terms = q.log_prob(draws) - MultivariateNormal(mean, (full + full.T) / 2).log_prob(draws)

    found = kernels.step_kl(model, one, *STEP, order=24)[name].item()

    error = terms.std().item() / math.sqrt(len(terms))
    assert abs(found - terms.mean().item()) < 4 * error
    assert found > 4 * error, "the draws are too few to tell the KL from zero"


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("isotropic-optimal", [range(8)]),
        ("diagonal", [[i] for i in range(8)]),
        ("spectral", [[0], [1, 2], [3, 4, 5, 6], [7]]),
    ],
)
def test_what_is_estimated_is_the_best_of_its_structure(model, x, name, groups):
    """Any change of the variances that the structure allows has a larger KL."""
    exact, basis = model.reverse_covariance(x, *STEP), kernels.basis_of(name, 8)
    variances = kernels.simplified(name, exact, *STEP)
    least = laws.gaussian_kl(exact, basis, variances)
    for group in groups:
        assert variances[:, list(group)].std(dim=1, correction=0).max() < 1e-12
        for factor in (0.97, 1.03):
            changed = variances.clone()
            changed[:, list(group)] *= factor
            assert (laws.gaussian_kl(exact, basis, changed) > least).all()


def test_the_bases_are_orthogonal_and_known(model):
    for name in kernels.NAMES[:-1]:
        basis = kernels.basis_of(name, 8)
        torch.testing.assert_close(basis @ basis.T, torch.eye(8, dtype=torch.float64))
    cosine = math.sqrt(2 / 8) * torch.cos(math.pi * 3 * (torch.arange(8, dtype=torch.float64) + 0.5) / 8)
    torch.testing.assert_close(kernels.basis_of("spectral", 8)[3], cosine)
    with pytest.raises(ValueError, match="diagonal in a known basis"):
        kernels.simplified("lanczos", torch.eye(8, dtype=torch.float64)[None], *STEP)


def test_the_levels():
    levels = kernels.log_spaced(16)
    assert len(levels) == 17 and levels[0] == pytest.approx(20) and levels[-1] == pytest.approx(0.05)
    assert [b / a for a, b in zip(levels, levels[1:], strict=False)] == pytest.approx([400 ** (-1 / 16)] * 16)
