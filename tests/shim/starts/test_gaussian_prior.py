"""A Gaussian prior: fitted against closed forms, moved along the ODE, kept in a file."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import lgs
from lgs.starts.components import Components

SHAPE = (3, 4, 5)
D = math.prod(SHAPE)


def law(rank: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mean (d,), basis (d, r), variances (r,) and rest, float64."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    basis = torch.linalg.qr(normal(D, rank)).Q
    return normal(D), basis, torch.linspace(9, 2, rank, dtype=torch.float64), 0.04


def drawn(n: int, seed: int = 1, rank: int = 6) -> Tensor:
    mean, basis, variances, rest = law(rank)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, D, generator=generator, dtype=torch.float64) * rest**0.5
    noise += (torch.randn(n, rank, generator=generator, dtype=torch.float64) * (variances - rest).sqrt()) @ basis.T
    return (mean + noise).float().reshape(n, *SHAPE)


def prior() -> lgs.GaussianPrior:
    mean, basis, variances, rest = law()
    return lgs.GaussianPrior(mean.reshape(SHAPE), basis.reshape(*SHAPE, -1), variances, rest, {"model": "a law"})


def covariance(prior: lgs.GaussianPrior) -> Tensor:
    """Dense, (d, d), float64."""
    basis = prior.basis.reshape(D, -1).double()
    return (basis * (prior.variances.double() - prior.rest)) @ basis.T + prior.rest * torch.eye(D, dtype=torch.float64)


@pytest.mark.parametrize("sizes", [[40], [7, 20, 13], [1] * 40])
def test_components_of_a_stream_are_those_of_all_at_once(sizes):
    items = drawn(40).flatten(1).double()
    components = Components(rank=64)
    for part in items.split(sizes):
        components.update(part)

    expected = torch.linalg.svd(items - items.mean(dim=0), full_matrices=False)

    assert components.count == 40
    torch.testing.assert_close(components.mean, items.mean(dim=0))
    torch.testing.assert_close(components.variances, (expected.S.square() / 39)[:39])
    overlap = (components.basis.T @ expected.Vh[:39].T).abs()
    torch.testing.assert_close(overlap, torch.eye(39, dtype=torch.float64), rtol=0, atol=1e-8)
    assert components.total_variance == pytest.approx(items.var(dim=0).sum().item())


def test_a_rank_that_cuts_components_off_keeps_the_total():
    items = drawn(500).flatten(1).double()
    components = Components(rank=10)
    for part in items.split(50):
        components.update(part)

    exact = torch.linalg.svdvals(items - items.mean(dim=0)).square() / 499

    assert components.total_variance == pytest.approx(exact.sum().item())
    torch.testing.assert_close(components.variances[:6], exact[:6], rtol=1e-3, atol=0)


def test_fitted_to_pictures_it_is_their_law():
    mean, basis, variances, rest = law()

    fitted = lgs.GaussianPrior.fit(drawn(4000), rank=6, about={"model": "none"})

    assert fitted.about == {"model": "none", "count": "4000", "source": "pictures"}
    assert (fitted.mean.flatten() - mean).norm() < 0.2
    torch.testing.assert_close(fitted.variances.double(), variances, rtol=0.1, atol=0)
    assert fitted.rest == pytest.approx(rest, rel=0.02)
    assert (basis.T @ fitted.basis.reshape(D, -1).double()).abs().diagonal().min() > 0.95


@pytest.mark.parametrize("rank", [0, 2, 6])
def test_the_rank_is_that_of_the_data_where_none_is_given(rank):
    mean, basis, variances, rest = law()
    generator = torch.Generator().manual_seed(2)
    items = mean + torch.randn(1000, D, generator=generator, dtype=torch.float64) * rest**0.5
    items += (torch.randn(1000, 6, generator=generator, dtype=torch.float64) * variances.sqrt())[:, :rank] @ basis[
        :, :rank
    ].T
    seen = []

    fitted = lgs.GaussianPrior.fit(
        (part.float().reshape(-1, *SHAPE) for part in items.split(100)), progress=seen.append
    )

    assert len(fitted.variances) == rank
    assert seen == list(range(100, 1001, 100))


@pytest.mark.parametrize(("process", "sigma", "sigma_next"), [("ve", 20.0, 2.0), ("flow", 1.0, 0.6)])
def test_teleportation_is_the_ode_in_closed_form(process, sigma, sigma_next):
    a_prior = prior()
    alpha, alpha_next = (1 - sigma, 1 - sigma_next) if process == "flow" else (1.0, 1.0)
    values, vectors = torch.linalg.eigh(covariance(a_prior))
    gain = ((alpha_next**2 * values + sigma_next**2) / (alpha**2 * values + sigma**2)).sqrt()
    x = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(3)) * sigma

    moved = a_prior.teleport(x, sigma, sigma_next, process)

    mean = a_prior.mean.double().flatten()
    expected = alpha_next * mean + (x.double().flatten(1) - alpha * mean) @ (vectors * gain) @ vectors.T
    assert (moved.flatten(1) - expected).norm() < 1e-5 * expected.norm()
    assert moved.dtype == x.dtype and moved.shape == x.shape
    for item in range(4):
        assert a_prior.teleport(x[item : item + 1], sigma, sigma_next, process).equal(moved[item : item + 1])


@pytest.mark.parametrize(("process", "sigma"), [("ve", 40.0), ("flow", 0.97)])
def test_a_models_answers_at_pure_noise_say_its_data_s_law(process, sigma):
    mean, basis, variances, rest = law()
    a_prior = prior()
    dense = covariance(a_prior)
    alpha = 1 - sigma if process == "flow" else 1.0
    jacobian = torch.linalg.solve(alpha**2 * dense + sigma**2 * torch.eye(D, dtype=torch.float64), alpha * dense)

    def denoise(x: Tensor, level: Tensor) -> Tensor:
        assert level.shape == (len(x),) and x.shape[1:] == SHAPE
        from_mean = x.double().flatten(1) - alpha * mean
        return (mean + from_mean @ jacobian.T).float().reshape(x.shape)

    generator = torch.Generator().manual_seed(4)
    fitted = lgs.GaussianPrior.from_model(
        denoise, SHAPE, sigma, 6, evaluations=4000, batch=500, process=process, generator=generator
    )

    assert fitted.about == {"evaluations": "4000", "sigma": str(sigma), "source": "model"}
    torch.testing.assert_close(fitted.variances.double(), variances, rtol=0.1, atol=0)
    assert fitted.rest == pytest.approx(rest, rel=0.1)
    assert (fitted.mean.flatten() - mean).norm() < 0.1 * mean.norm()


def test_it_comes_back_from_its_file(tmp_path):
    a_prior = prior()
    a_prior.save(tmp_path / "a.safetensors")
    back = lgs.GaussianPrior.load(tmp_path / "a.safetensors")

    assert back.mean.equal(a_prior.mean) and back.basis.equal(a_prior.basis)
    assert back.variances.equal(a_prior.variances) and back.rest == pytest.approx(a_prior.rest)
    assert back.about == {"model": "a law"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "a.safetensors"
    prior().save(file)
    before = file.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prior().save(file)

    assert file.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("rest", [0.04, 1e-4])
def test_given_a_part_of_the_picture_it_is_the_conditional_law(rest):
    a_prior = prior()
    a_prior = lgs.GaussianPrior(a_prior.mean, a_prior.basis, a_prior.variances, rest)
    known = drawn(2, seed=11)
    mask = torch.zeros(1, 1, *SHAPE[1:])
    mask[..., 2:] = 0.5
    free = mask.expand(1, *SHAPE).flatten() > 0

    conditioned = a_prior.given(known, mask)

    dense, mean = covariance(a_prior), a_prior.mean.double().flatten()
    gain = torch.linalg.solve(dense[~free][:, ~free], dense[~free][:, free]).T
    for item, found in zip(known.double().flatten(1), conditioned, strict=True):
        expected = mean[free] + gain @ (item - mean)[~free]
        torch.testing.assert_close(found.mean.double().flatten()[free], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.mean.double().flatten()[~free], item[~free])
        schur = dense[free][:, free] - gain @ dense[~free][:, free]
        torch.testing.assert_close(covariance(found)[free][:, free], schur, rtol=1e-4, atol=1e-4)
        # It is the law of what is free alone: nothing known varies but by the rest.
        torch.testing.assert_close(covariance(found)[~free][:, ~free], rest * torch.eye(int((~free).sum())).double())
        assert found.teleport(known[:1], 5.0, 2.0).shape == (1, *SHAPE)


def test_with_nothing_known_it_is_the_law_itself_and_with_all_known_a_point():
    a_prior, known = prior(), drawn(1, seed=12)

    [nothing] = a_prior.given(known, torch.ones(1))
    [everything] = a_prior.given(known, torch.zeros(1, 1, 1))

    torch.testing.assert_close(covariance(nothing), covariance(a_prior), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(nothing.mean, a_prior.mean)
    assert everything.mean.equal(known[0]) and len(everything.variances) == 0
    with pytest.raises(lgs.InvalidArgument, match="mask: expected one that broadcasts"):
        a_prior.given(known, torch.ones(7))


@pytest.mark.parametrize(("process", "sigma"), [("ve", 2.0), ("flow", 0.6), ("flow", 1.0)])
def test_density_and_posterior_mean_are_those_of_the_dense_gaussian(process, sigma):
    a_prior, alpha = prior(), 1 - sigma if process == "flow" else 1.0
    x = (alpha * drawn(4, seed=13) + sigma * torch.randn(4, *SHAPE)).double()
    mean, dense = a_prior.mean.double().flatten(), covariance(a_prior)
    marginal = alpha**2 * dense + sigma**2 * torch.eye(D, dtype=torch.float64)

    density = torch.distributions.MultivariateNormal(alpha * mean, marginal).log_prob(x.flatten(1))
    posterior = mean + alpha * (x.flatten(1) - alpha * mean) @ torch.linalg.solve(marginal, dense)

    torch.testing.assert_close(a_prior.log_likelihood(x, sigma, process), density, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(a_prior.denoised(x, sigma, process).flatten(1), posterior, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("process", "sigma"), [("ve", 0.5), ("ve", 14.6), ("flow", 0.9), ("flow", 0.3)])
def test_what_begins_with_noise_has_the_law_of_noised_data(process, sigma):
    """Which is linear in the noise: its mean from none, its covariance from the unit vectors."""
    a_prior, alpha = prior(), 1 - sigma if process == "flow" else 1.0

    mean = a_prior.begin(torch.zeros(1, *SHAPE, dtype=torch.float64), sigma, process).flatten()
    columns = a_prior.begin(torch.eye(D, dtype=torch.float64).reshape(D, *SHAPE), sigma, process).flatten(1) - mean

    torch.testing.assert_close(mean, alpha * a_prior.mean.double().flatten(), rtol=1e-5, atol=1e-5)
    marginal = alpha**2 * covariance(a_prior) + sigma**2 * torch.eye(D, dtype=torch.float64)
    torch.testing.assert_close(columns.T @ columns, marginal, rtol=1e-5, atol=1e-5 * marginal.max().item())
    # From far above it is the same picture.
    noise = torch.randn(2, *SHAPE, dtype=torch.float64)
    if process == "ve":
        far = a_prior.teleport(1e5 * noise, 1e5, sigma)
        torch.testing.assert_close(a_prior.begin(noise, sigma), far, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("process", "sigma"), [("ve", 0.0), ("ve", -1.0), ("ve", math.nan), ("ve", math.inf), ("flow", 1.0), ("flow", 2.0)]
)
def test_there_is_no_beginning_at_such_a_level(process, sigma):
    with pytest.raises(lgs.InvalidArgument, match="sigma"):
        prior().begin(torch.zeros(1, *SHAPE), sigma, process)
