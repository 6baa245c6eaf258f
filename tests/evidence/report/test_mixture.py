"""The mixture's closed forms against autograd, Bayes' rule on densities, and Monte Carlo. Takes six seconds."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import lgs
from evidence.report.mixture import Mixture, quadrature_order, reverse_coefficients, separated_mixture

SIGMAS = [0.05, 0.7, 2.0, 20.0]
STEPS = [(20.0, 9.0), (2.0, 0.6), (0.3, 0.25), (0.1, 0.05)]


@pytest.fixture(scope="module")
def model():
    return separated_mixture()


def points(model, sigma, count=6, seed=0):
    """Some of x_t, and one in the middle of the classes."""
    generator = torch.Generator().manual_seed(seed)
    clean, _ = model.draw(count, generator)
    x = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    return torch.cat([x, model.means.mean(dim=0)[None]])


def law(model, sigma):
    """x_t as torch.distributions has it, from the parameters alone."""
    noised = model.covariance + sigma**2 * torch.eye(len(model.covariance), dtype=torch.float64)
    return MixtureSameFamily(Categorical(model.weights), MultivariateNormal(model.means, noised))


def law_of_reverse(weights, means, covariance):
    return MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covariance))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_posterior_mean_is_tweedies(model, sigma):
    x = points(model, sigma).requires_grad_()
    (score,) = torch.autograd.grad(law(model, sigma).log_prob(x).sum(), x)

    torch.testing.assert_close(model.denoised(x, sigma), x + sigma**2 * score, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_posterior_covariance_is_the_jacobians(model, sigma):
    for x in points(model, sigma):
        jacobian = torch.autograd.functional.jacobian(lambda x: model.denoised(x[None], sigma)[0], x)
        hessian = torch.autograd.functional.hessian(law(model, sigma).log_prob, x)

        covariance = model.posterior_covariance(x[None], sigma)[0]

        eye = torch.eye(len(x), dtype=torch.float64)
        torch.testing.assert_close(covariance, sigma**2 * jacobian, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(covariance, sigma**2 * eye + sigma**4 * hessian, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_class_posterior_and_its_gradient(model, sigma):
    x = points(model, sigma).requires_grad_()
    whole = law(model, sigma)
    log_joint = whole.component_distribution.log_prob(x[:, None]) + model.weights.log()
    log_posterior = log_joint - whole.log_prob(x)[:, None]

    torch.testing.assert_close(model.class_posterior(x, sigma), log_posterior.exp(), rtol=1e-9, atol=1e-12)
    for k in range(len(model.weights)):
        (gradient,) = torch.autograd.grad(log_posterior[:, k].sum(), x, retain_graph=True)
        torch.testing.assert_close(model.class_gradient(x, sigma)[:, k], gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("step", STEPS)
def test_the_reverse_kernel_is_bayes_rule(model, step):
    """q(x_s | x_t) p(x_t) = p(x_s) N(x_t; x_s, (sigma_t^2 - sigma_s^2) I), at any x_s."""
    sigma, sigma_next = step
    gap = sigma**2 - sigma_next**2
    generator = torch.Generator().manual_seed(1)
    for x in points(model, sigma):
        weights, means, covariance = model.reverse(x[None], *step)
        x_s = x + gap**0.5 * torch.randn(20, len(x), generator=generator, dtype=torch.float64)
        noising = -((x - x_s) ** 2).sum(dim=1) / (2 * gap) - len(x) / 2 * math.log(2 * math.pi * gap)

        found = law_of_reverse(weights[0], means[0], covariance).log_prob(x_s) + law(model, sigma).log_prob(x)

        torch.testing.assert_close(found, law(model, sigma_next).log_prob(x_s) + noising, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("step", STEPS)
def test_the_reverse_kernel_has_the_moments_of_the_design(model, step):
    x = points(model, step[0])
    weights, means, covariance = model.reverse(x, *step)
    centre = (weights[:, None] @ means)[:, 0]
    away = means - centre[:, None]

    torch.testing.assert_close(model.reverse_mean(x, *step), centre, rtol=1e-10, atol=1e-10)
    spread = covariance + torch.einsum("bk,bki,bkj->bij", weights, away, away)
    torch.testing.assert_close(model.reverse_covariance(x, *step), spread, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("step", STEPS)
def test_whitening_keeps_the_distances_of_the_components(model, step):
    _, means, covariance = model.reverse(points(model, step[0]), *step)
    apart = means[0][:, None] - means[0]
    expected = torch.einsum("abi,ij,abj->ab", apart, torch.linalg.inv(covariance), apart)

    whitened = model.whitened_means(*step)

    torch.testing.assert_close(torch.cdist(whitened, whitened) ** 2, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("step", [(20.0, 2.0), (20.0, 0.5), (4.0, 0.3), (1.5, 0.5)])
def test_the_negentropy_is_what_monte_carlo_finds(model, step):
    """On large steps, where the integrand is sharp: by 10^5 draws of q, within four standard errors of them."""
    generator = torch.Generator().manual_seed(0)
    x = points(model, step[0], count=3)[-2:]
    found = model.negentropy(x, *step, quadrature_order(model, x, *step))
    shown = []
    for value, one in zip(found, x, strict=True):
        weights, means, covariance = model.reverse(one[None], *step)
        q = law_of_reverse(weights[0], means[0], covariance)
        mean, spread = model.reverse_mean(one[None], *step)[0], model.reverse_covariance(one[None], *step)[0]
        label = torch.multinomial(weights[0], 100_000, replacement=True, generator=generator)
        normal = torch.randn(len(label), model.dimension, generator=generator, dtype=torch.float64)
        draws = means[0][label] + normal @ torch.linalg.cholesky(covariance).T
        terms = q.log_prob(draws) - MultivariateNormal(mean, spread).log_prob(draws)
        error = (terms.std() / math.sqrt(len(terms))).item()
        assert abs(value - terms.mean()) < 4 * error
        shown.append(value / error)
    assert max(shown) > 10, "the draws are too few to tell the negentropy from zero"


@pytest.mark.parametrize("steps", [4, 16, 64])
def test_the_quadrature_has_converged(model, steps):
    """Beside three times as many nodes, on every step of a path."""
    levels = torch.logspace(math.log10(20), math.log10(0.05), steps + 1).tolist()
    for step in zip(levels, levels[1:], strict=False):
        x = points(model, step[0], count=20, seed=2)
        order = quadrature_order(model, x, *step)
        fine = model.negentropy(x, *step, max(32, 2 * order))
        assert abs(model.negentropy(x, *step, order).mean() - fine.mean()) < 2e-4 * fine.mean()


def test_a_quadrature_that_cannot_converge_says_so(model):
    with pytest.raises(ArithmeticError, match="take smaller steps"):
        quadrature_order(model, points(model, 4.0), 4.0, 0.3, tolerance=0.0)


def test_one_component_is_gaussian():
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    one = Mixture(torch.ones(1, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64), covariance)
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    assert one.class_posterior(x, 1.0).eq(1).all()
    torch.testing.assert_close(one.posterior_covariance(x, 1.0), one.covariance_in_class(1.0).expand(3, -1, -1))


def test_each_item_may_have_its_own_sigma(model):
    x, sigma = points(model, 1.0), torch.linspace(0.1, 5, 7, dtype=torch.float64)
    for function in (model.denoised, model.posterior_covariance, model.class_gradient):
        alone = torch.cat([function(x[i : i + 1], sigma[i]) for i in range(7)])
        torch.testing.assert_close(function(x, sigma), alone, rtol=1e-12, atol=1e-12)


def test_samples_have_the_law(model):
    clean, label = model.draw(100_000, torch.Generator().manual_seed(0))
    for k, weight in enumerate(model.weights.tolist()):
        of_class = clean[label == k]
        assert abs(len(of_class) / len(clean) - weight) < 4 * math.sqrt(weight * (1 - weight) / len(clean))
        standard = (model.covariance.diagonal() / len(of_class)).sqrt()
        assert ((of_class.mean(dim=0) - model.means[k]).abs() < 4.5 * standard).all()
        assert (of_class.T.cov() - model.covariance).abs().max() < 6 / math.sqrt(len(of_class))


def test_far_from_everything_nothing_is_nan(model):
    x = torch.full((2, 8), 1e6, dtype=torch.float64)
    for value in (model.class_posterior(x, 0.05), model.denoised(x, 0.05), model.posterior_covariance(x, 0.05)):
        assert value.isfinite().all()
    assert model.negentropy(x, 0.1, 0.05, 8).abs().max() < 1e-12


def test_the_engine_has_the_square_root_of_its_covariance(model):
    """Through the model as a denoiser: unit vectors, as many Lanczos steps as dimensions."""
    x, (sigma, sigma_next) = points(model, 1.0), (1.0, 0.4)
    units = torch.eye(8, dtype=torch.float64).repeat(len(x), 1)
    options = lgs.Options(lanczos_steps=8, jvp="forward")

    columns = lgs.reverse_noise(model.denoised, x.repeat_interleave(8, dim=0), sigma, sigma_next, units, options)

    root = columns.reshape(-1, 8, 8)
    torch.testing.assert_close(root, root.mT, rtol=0, atol=1e-9)
    torch.testing.assert_close(root @ root.mT, model.reverse_covariance(x, sigma, sigma_next), rtol=0, atol=1e-9)


def test_no_basis_is_favoured(model):
    from scipy.fft import dctn

    for covariance in (model.covariance, torch.from_numpy(dctn(model.covariance.numpy(), norm="ortho"))):
        beside = covariance - covariance.diagonal().diag()
        assert beside.norm() > 0.25 * (covariance - covariance.trace() / 8 * torch.eye(8)).norm()
    assert torch.cdist(model.means, model.means)[0, 1:].tolist() == pytest.approx([3.0] * 3)
    assert (model.weights @ model.means).abs().max() < 1e-14


def test_the_coefficients_are_those_of_the_design():
    sigma, sigma_next = 2.0, 0.7
    v, b = reverse_coefficients(sigma, sigma_next)
    a = math.sqrt(sigma_next**2 - v) / sigma
    assert (a, b) == pytest.approx((sigma_next**2 / sigma**2, 1 - sigma_next**2 / sigma**2))
    assert v == pytest.approx(sigma_next**2 * (1 - sigma_next**2 / sigma**2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [0.5, 0.6]}, "sum to 1"),
        ({"weights": [1.5, -0.5]}, "positive"),
        ({"weights": [math.nan, 0.5]}, "positive"),
        ({"weights": [1.0]}, "expected weights"),
        ({"covariance": [[1.0, 0.5], [0.4, 1.0]]}, "symmetric"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "positive definite"),
        ({"covariance": [[1.0]]}, "expected weights"),
    ],
)
def test_what_is_no_mixture_is_refused(change, message):
    parameters = {"weights": [0.5, 0.5], "means": [[0.0, 0.0], [1.0, 1.0]], "covariance": [[1.0, 0.0], [0.0, 1.0]]}
    with pytest.raises(ValueError, match=message):
        Mixture(**{name: torch.tensor(value, dtype=torch.float64) for name, value in (parameters | change).items()})
