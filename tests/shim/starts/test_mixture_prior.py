"""A mixture of factor analysers: against dense linear algebra in float64, its flow against its law."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import lgs
from lgs.starts import MixturePrior
from lgs.starts.em import Expectation, maximised
from lgs.starts.low_rank import LowRankGaussians

SHAPE = (2, 3, 4)
D, K, R = math.prod(SHAPE), 3, 2


def tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return {
        "weights": torch.tensor([0.5, 0.3, 0.2]),
        "means": 3 * normal(K, *SHAPE),
        "bases": torch.linalg.qr(normal(K, D, R)).Q.reshape(K, *SHAPE, R),
        "variances": torch.tensor([[9.0, 4.0], [6.0, 2.0], [4.0, 1.0]]),
        "rests": torch.tensor([0.3, 0.2, 0.1]),
    }


def mixture(**changed: Tensor) -> MixturePrior:
    return MixturePrior(**(tensors() | changed), about={"model": "a law"})


def dense(prior: MixturePrior) -> list[tuple[float, Tensor, Tensor]]:
    """Weight, mean (d,) and covariance (d, d) of each component, float64."""
    found = []
    for weight, mean, basis, variances, rest in zip(
        prior.weights, prior.means, prior.bases, prior.variances, prior.rests, strict=True
    ):
        u, rest = basis.reshape(D, R).double(), rest.double()
        covariance = (u * (variances.double() - rest)) @ u.T + rest * torch.eye(D, dtype=torch.float64)
        found.append((weight.double().item(), mean.double().flatten(), covariance))
    return found


def log_density(prior: MixturePrior, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """Of x (batch, d...) by torch's own normal distributions; float64, differentiable."""
    noise = sigma**2 * torch.eye(D, dtype=torch.float64)
    parts = [
        math.log(weight)
        + torch.distributions.MultivariateNormal(alpha * mean, alpha**2 * covariance + noise).log_prob(x.flatten(1))
        for weight, mean, covariance in dense(prior)
    ]
    return torch.stack(parts).logsumexp(dim=0)


CASES = [("ve", 4.0), ("ve", 0.5), ("flow", 0.8), ("flow", 0.3), ("flow", 1.0)]


@pytest.mark.parametrize(("process", "sigma"), CASES)
def test_density_and_posterior_mean_are_those_of_dense_gaussians(process, sigma):
    prior, alpha = mixture(), 1 - sigma if process == "flow" else 1.0
    generator = torch.Generator().manual_seed(1)
    x = alpha * prior.sample(6, generator) + sigma * torch.randn(6, *SHAPE, generator=generator)
    x = x.double().requires_grad_()

    expected = log_density(prior, x, alpha, sigma)
    [score] = torch.autograd.grad(expected.sum(), x)

    torch.testing.assert_close(prior.log_likelihood(x, sigma, process), expected.detach(), rtol=1e-6, atol=1e-6)
    if alpha > 0:
        # Tweedie's formula.
        mean = (x.detach() + sigma**2 * score) / alpha
        torch.testing.assert_close(prior.denoised(x.detach(), sigma, process), mean, rtol=1e-6, atol=1e-6)
    else:
        mean = sum(weight * of for weight, of, _ in dense(prior))
        torch.testing.assert_close(prior.denoised(x.detach(), sigma, process)[0].flatten(), mean)


@pytest.mark.parametrize(("process", "sigma"), [("ve", 3.0), ("flow", 0.7), ("flow", 1.0)])
def test_a_gaussian_is_a_mixture_of_one(process, sigma):
    one = {name: tensor[:1] for name, tensor in tensors().items()} | {"weights": torch.ones(1)}
    prior = MixturePrior(**one)
    gaussian = lgs.GaussianPrior(prior.means[0], prior.bases[0], prior.variances[0], prior.rests[0].item())
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(2)) * sigma

    torch.testing.assert_close(gaussian.denoised(x, sigma, process), prior.denoised(x, sigma, process))
    torch.testing.assert_close(gaussian.log_likelihood(x, sigma, process), prior.log_likelihood(x, sigma, process))
    expected = gaussian.teleport(x, sigma, 0.4, process)
    assert (prior.teleport(x, sigma, 0.4, process) - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize(("process", "sigma", "sigma_next"), [("ve", 30.0, 1.0), ("flow", 1.0, 0.5)])
def test_teleportation_follows_the_probability_flow_of_the_mixture(process, sigma, sigma_next):
    prior = mixture()
    x = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(3)) * sigma

    moved = prior.teleport(x, sigma, sigma_next, process)

    alpha, alpha_next = (1 - sigma, 1 - sigma_next) if process == "flow" else (1.0, 1.0)
    s = sigma / alpha if alpha else 1e4
    fine = (x.double() / alpha if alpha else 1e4 * x.double()).flatten(1)
    levels = torch.logspace(math.log10(s), math.log10(sigma_next / alpha_next), 2001, dtype=torch.float64)
    for level, following in zip(levels[:-1], levels[1:], strict=True):
        # The midpoint rule in log s, with another implementation of D.
        slope = lambda x, s: (s * s * score(prior, x, s.item())).neg()  # noqa: E731
        h = (following / level).log()
        fine = fine + h * slope(fine + h / 2 * slope(fine, level), level * (h / 2).exp())
    expected = alpha_next * fine.reshape(x.shape)
    assert (moved - expected).norm() < 2e-3 * expected.norm()
    for item in range(5):
        assert prior.teleport(x[item : item + 1], sigma, sigma_next, process).equal(moved[item : item + 1])


def score(prior: MixturePrior, x: Tensor, s: float) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(log_density(prior, x, 1.0, s).sum(), x)[0]


def test_samples_have_its_moments():
    prior = mixture()
    samples = prior.sample(40000, torch.Generator().manual_seed(4)).flatten(1).double()

    parts = dense(prior)
    mean = sum(weight * of for weight, of, _ in parts)
    covariance = sum(weight * (c + torch.outer(m - mean, m - mean)) for weight, m, c in parts)

    assert (samples.mean(dim=0) - mean).norm() < 5 * (covariance.trace() / 40000).sqrt()
    assert (samples.T.cov() - covariance).norm() < 0.03 * covariance.norm()


def test_a_round_of_em_never_makes_the_data_less_likely_and_agrees_with_dense_sums():
    items = mixture().sample(600, torch.Generator().manual_seed(5)).flatten(1)
    start = tensors(seed=9)
    weights = start["weights"]
    gaussians = LowRankGaussians(
        items[:3].double(),
        start["bases"].reshape(K, D, R).double(),
        start["variances"].double(),
        start["rests"].double(),
    )
    likelihoods = []
    for _ in range(6):
        expectation = Expectation(gaussians, held_out=0)
        for batch in items.split(250):
            expectation.update(weights, batch)
        likelihoods.append(expectation.log_likelihood)
        if len(likelihoods) == 1:
            # Sums of S W by the whole scatter of one component.
            joint = weights.log() + gaussians.log_density(items.double(), 0.0)
            shares = joint.softmax(dim=1)[:, 1]
            centred = items.double() - gaussians.means[1]
            scatter = (shares[:, None] * centred).T @ centred
            torch.testing.assert_close(expectation.products[1], scatter @ expectation.factors[1], rtol=1e-3, atol=1e-2)
        weights, gaussians = maximised(expectation)

    assert all(later > earlier - 1e-3 for earlier, later in zip(likelihoods, likelihoods[1:], strict=False))
    assert likelihoods[-1] > likelihoods[0] + 1


def test_fitted_to_a_mixture_it_is_as_likely_as_the_truth():
    truth = mixture()
    items = truth.sample(3000, torch.Generator().manual_seed(6))
    others = truth.sample(3000, torch.Generator().manual_seed(7))
    rounds = []

    fitted = MixturePrior.fit(items.split(700), components=3, rank=2, progress=rounds.append)
    one = lgs.GaussianPrior.fit(items, rank=6)

    noisy = others + 0.5 * torch.randn(others.shape, generator=torch.Generator().manual_seed(8))
    best = truth.log_likelihood(noisy, 0.5).mean()
    assert best - fitted.log_likelihood(noisy, 0.5).mean() < 0.2
    assert best - one.log_likelihood(noisy, 0.5).mean() > 1
    assert fitted.about == {"count": "3000", "source": "pictures"}
    assert rounds == list(range(1, len(rounds) + 1)) and rounds


def test_it_comes_back_from_its_file(tmp_path):
    prior = mixture()
    prior.save(tmp_path / "a.safetensors")

    back = lgs.starts.load(tmp_path / "a.safetensors")

    assert isinstance(back, MixturePrior) and back.about == {"model": "a law"} and back.shape == SHAPE
    assert all(getattr(back, name).equal(getattr(prior, name)) for name in tensors())
    with pytest.raises(lgs.InvalidArgument, match="expected family 'gaussian'.*got 'mixture'"):
        lgs.GaussianPrior.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weights": torch.tensor([0.5, 0.3, 0.3])}, "weights that sum to 1"),
        ({"weights": torch.tensor([0.8, 0.3, -0.1])}, "not negative"),
        ({"means": torch.full((K, *SHAPE), torch.nan)}, "means: expected finite"),
        ({"rests": torch.zeros(2)}, r"got .*rests \(2,\)"),
        ({"bases": torch.zeros(K, *SHAPE, 3)}, r"got .*bases \(3, 2, 3, 4, 3\)"),
        ({"variances": torch.ones(K, R).long()}, "variances: expected a floating"),
    ],
)
def test_numbers_that_are_no_mixture(changed, words):
    with pytest.raises(lgs.Error, match=words):
        mixture(**changed)


@pytest.mark.parametrize(
    ("images", "arguments", "words"),
    [
        (iter([torch.zeros(5, 2)]), {}, "can be read several times"),
        ([], {}, "at least two pictures, got 0"),
        (torch.randn(20, 4), {"components": 4, "rank": 2}, "got 4 and 2 for 20 pictures"),
        (torch.randn(20, 4), {"components": 0}, "got 0 and 16"),
        ([torch.randn(9, 4), torch.randn(9, 5)], {"components": 1, "rank": 1}, "pictures of one size"),
        (torch.full((20, 4), torch.inf), {"components": 1, "rank": 1}, "images: expected finite"),
    ],
)
def test_pictures_that_no_mixture_can_be_fitted_to(images, arguments, words):
    with pytest.raises(lgs.Error, match=words):
        MixturePrior.fit(images, **arguments)


def test_identical_pictures_have_a_law_too():
    prior = MixturePrior.fit(torch.ones(30, 3, 4), components=1, rank=2)

    assert prior.log_likelihood(torch.ones(1, 3, 4), 1.0).isfinite().all()


def test_given_a_part_of_the_picture_it_is_the_conditional_law():
    """At points of the free part: p(free, known) / p(known) by dense Gaussians."""
    prior = mixture(means=tensors()["means"] / 6)  # so near that what is known leaves more than one
    known = prior.sample(2, torch.Generator().manual_seed(9))
    mask = torch.zeros(1, 3, 1)
    mask[:, 1:] = 1
    free = mask.expand(SHAPE).flatten() > 0

    conditioned = prior.given(known, mask)

    others = prior.sample(5, torch.Generator().manual_seed(10)).flatten(1).double()
    for item, found in zip(known.flatten(1).double(), conditioned, strict=True):
        points = torch.where(free, others, item)
        whole = torch.stack([math.log(w) + normal(m, c).log_prob(points) for w, m, c in dense(prior)]).logsumexp(0)
        part = torch.stack(
            [math.log(w) + normal(m[~free], c[~free][:, ~free]).log_prob(item[~free]) for w, m, c in dense(prior)]
        ).logsumexp(0)
        own = torch.stack(
            [
                math.log(max(w, 1e-300)) + normal(m[free], c[free][:, free]).log_prob(points[:, free])
                for w, m, c in dense(found)
            ]
        ).logsumexp(0)
        torch.testing.assert_close(own, whole - part, rtol=1e-4, atol=1e-3)
        assert found.teleport(known[:1], 5.0, 2.0).shape == (1, *SHAPE)


def normal(mean: Tensor, covariance: Tensor) -> torch.distributions.MultivariateNormal:
    return torch.distributions.MultivariateNormal(mean, covariance)
