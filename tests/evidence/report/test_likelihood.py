"""The likelihood bound against torch.distributions, closed forms of a Gaussian data law, and J written out.

Takes half a minute on one core, most of it in the trained network.
"""

import json
import math
from itertools import pairwise

import pytest
import scipy.stats
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from evidence.report import likelihood
from evidence.report.bound import (
    Jacobian,
    costs,
    decoder,
    diagonal_cost,
    diagonals,
    exact_costs,
    jacobian,
    kernel,
    linearised,
    octave_means,
    prior,
    spectrum,
)
from evidence.report.likelihood import COVARIANCES, Plan, differences, measure, show
from evidence.report.quadrature import rademacher
from evidence.report.run import Run

SHAPE = (1, 4, 4)
D = math.prod(SHAPE)
FREE = set(COVARIANCES) - {"diagonal-learned"}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def positive(seed=0):
    """A symmetric J, positive semidefinite and at most 1, diagonal neither in pixels nor in frequencies."""
    vectors = torch.linalg.qr(normal(D, D, seed=seed))[0]
    return vectors * torch.logspace(-3, 0, D, dtype=torch.float64) @ vectors.T


def given(j):
    """A `Jacobian` of the matrix j."""
    return Jacobian(lambda v: v @ j, lambda v: v @ (j + j.T) / 2)


class GaussianLaw:
    """x_0 ~ N(0, C): D, J and every covariance are known."""

    def __init__(self):
        scales = torch.linspace(0.2, 1.5, D, dtype=torch.float64)
        self.c = 2 * scales[:, None] * positive(seed=3) * scales

    def draw(self, n):
        return (normal(n, D, seed=4) @ torch.linalg.cholesky(self.c).T).view(n, *SHAPE)

    def jacobian(self, sigma):
        return self.c @ torch.linalg.inv(self.c + sigma**2 * torch.eye(D))

    def denoise(self, x, sigma):
        return (x.flatten(1) @ self.jacobian(sigma[0].item()).T).view_as(x)


def in_octaves(matrix):
    """The diagonal (D,) of a matrix of frequencies, each the mean of its octave, by their definition.

    The tile is the picture, of 4 x 4: its highest frequency counts as 6 of the 8 of a full tile.
    """
    frequency = [2 * math.hypot(k // 4, k % 4) for k in range(D)]
    octaves = [[i for i in range(D) if 2**o <= frequency[i] + 1 < 2 ** (o + 1)] for o in range(4)]
    means = torch.zeros(D, dtype=torch.float64)
    for octave in octaves:
        means[octave] = matrix.diagonal()[octave].double().mean()
    return means


def expected_kl(family, j, v, c):
    """E KL of a step if x_0 - D has covariance sigma^2 J, which it has: then E e e' = c J."""
    eye, dct = torch.eye(D, dtype=torch.float64), spectrum(torch.eye(D).double().view(D, *SHAPE)).view(D, D)
    exact = v * eye + c * j
    sigma = {
        "isotropic": v * eye,
        "isotropic-optimal": (v + c * j.trace() / D) * eye,
        "diagonal": exact.diagonal().diag(),
        "spectral": dct @ in_octaves(dct.T @ exact @ dct).diag() @ dct.T,
        "full": exact,
    }[family]
    return (torch.linalg.solve(sigma, exact).trace() - D + sigma.logdet() - D * math.log(v)).item() / 2


@pytest.fixture(scope="module")
def chains():
    """T -> of each step what it takes and costs, over images of a Gaussian law."""
    law, found = GaussianLaw(), {}
    images, noise = law.draw(2000), generator(5)
    for steps in (4, 12):
        found[steps] = []
        sigmas = torch.logspace(math.log10(20), math.log10(0.3), steps + 1, dtype=torch.float64).tolist()
        for pair in pairwise(sigmas):
            x = images + pair[0] * torch.randn(images.shape, generator=noise, dtype=torch.float64)
            denoised, at = linearised(law.denoise, x, pair[0])
            found[steps].append((pair, costs(images - denoised, pair, at, (64, 2), noise)[0]))
    return law, images, found


@pytest.mark.parametrize("family", ["isotropic", "isotropic-optimal", "diagonal", "spectral", "full"])
def test_of_a_gaussian_law_every_covariance_costs_what_it_should(chains, family):
    law, images, found = chains
    for steps in found.values():
        for (sigma, sigma_next), cost in steps:
            _, v, c = kernel(sigma, sigma_next)
            expected = expected_kl(family, law.jacobian(sigma), v, c)
            error = cost[family].kl.std() / len(images) ** 0.5
            # Beside what the images make, what 64 probes for a diagonal do.
            assert abs(cost[family].kl.mean() - expected) < 4 * error + 0.05 * expected


def test_of_a_gaussian_law_the_exact_covariances_are_as_large_as_they_should_be(chains):
    _, images, found = chains
    for steps in found.values():
        for _, cost in steps:
            for family in ("isotropic-optimal", "diagonal", "spectral", "full"):
                error = cost[family].fit.std() / len(images) ** 0.5
                assert abs(cost[family].fit.mean() - 1) < 4 * error + 0.04, family


def test_of_a_gaussian_law_the_families_have_their_order_and_the_full_one_has_the_likelihood(chains):
    """Of each family the member with the moments of x_s given x_t has the least E KL, and exceeds the exact one's
    by (log det Sigma - log det of the exact one) / 2: more, the smaller the family (Hadamard).

    The exact one makes the chain the data's own, and the bound the likelihood, in however few steps. (The isotropic
    v is in the family of the trace-matched one.)"""
    law, images, found = chains
    zero, eye, flat = torch.zeros(D).double(), torch.eye(D).double(), images.flatten(1)
    over = {}
    for count, steps in found.items():
        first, last = steps[0][0][0], steps[-1][0][1]
        start = kl_divergence(
            MultivariateNormal(flat, first**2 * eye), MultivariateNormal(zero, law.c + first**2 * eye)
        )
        x = images + last * normal(*images.shape, seed=6)
        mean = law.denoise(x, torch.full((len(x),), last).double()).flatten(1)
        posterior = last**2 * law.jacobian(last)
        end = -MultivariateNormal(mean, (posterior + posterior.T) / 2).log_prob(flat)
        beside = start + end + MultivariateNormal(zero, law.c).log_prob(flat)
        gaps = {name: beside + sum(cost[name].kl for _, cost in steps) for name in FREE}
        error = gaps["full"].std().item() / len(images) ** 0.5
        over[count] = {name: gap.mean().item() for name, gap in gaps.items()}
        assert abs(over[count]["full"]) < 3 * error
        assert error < over[count]["diagonal"] / 5, "an error that would hide nothing"
        for less, more in pairwise(("full", "diagonal", "isotropic-optimal", "isotropic", "isotropic-large")):
            assert over[count][less] < over[count][more]
        assert over[count]["full"] < over[count]["spectral"] < over[count]["isotropic-optimal"]
    assert 2 < over[4]["isotropic-optimal"] / over[12]["isotropic-optimal"] < 5, "the others fall like 1 / T"


def test_the_kernel_is_bayes_rule():
    sigma, sigma_next = 1.7, 0.4

    b, v, c = kernel(sigma, sigma_next)

    precision = 1 / sigma_next**2 + 1 / (sigma**2 - sigma_next**2)
    assert v == pytest.approx(1 / precision)
    assert b == pytest.approx(1 / sigma_next**2 / precision), "weight of x_0"
    assert c == pytest.approx(b**2 * sigma**2)


def test_the_isotropic_cost_is_that_of_variational_diffusion_models():
    # Kingma et al., arXiv 2107.00630, equation 13: (SNR(s) - SNR(t)) |x_0 - D|^2 / 2.
    error, sigmas = normal(3, *SHAPE), (2.0, 0.5)

    found, _ = costs(error, sigmas, given(positive()), (1, 2), generator())

    expected = (1 / 0.25 - 1 / 4) / 2 * error.flatten(1).square().sum(1)
    torch.testing.assert_close(found["isotropic"].kl, expected, rtol=1e-9, atol=0)


def test_with_j_written_out_the_costs_are_the_divergences_of_the_distributions():
    j, error, sigmas = normal(D, D, seed=8) / 4 + torch.eye(D) / 2, normal(1, *SHAPE), (1.0, 0.3)
    _, v, c = kernel(*sigmas)
    b = 1 - 0.09

    found = exact_costs(error, sigmas, j)

    values, vectors = torch.linalg.eigh((j + j.T) / 2)
    assert values[0] < 0, "the clamp has something to do"
    dct = spectrum(torch.eye(D).double().view(D, *SHAPE)).view(D, D)
    frequencies = in_octaves(dct.T @ j.double() @ dct).clamp_min(0)
    full = {
        "diagonal": (c * j.diagonal().clamp_min(0)).diag(),
        "spectral": c * dct @ frequencies.diag() @ dct.T,
        "full": c * vectors * values.clamp_min(0) @ vectors.T,
        "isotropic-optimal": c * j.diagonal().mean() * torch.eye(D),
    }
    eye = torch.eye(D).double()
    assert found.keys() == full.keys()
    for name, beyond in full.items():
        model = MultivariateNormal(torch.zeros(D).double(), (beyond + beyond.T) / 2 + v * eye)
        expected = kl_divergence(MultivariateNormal(b * error.flatten(1), v * eye), model)
        torch.testing.assert_close(found[name].kl, expected, rtol=1e-8, atol=0)
        distance = (
            v * model.precision_matrix.trace() + b**2 * error.flatten() @ model.precision_matrix @ error.flatten()
        ) / D
        torch.testing.assert_close(found[name].fit[0], distance, rtol=1e-8, atol=0)


def test_probes_come_to_the_same_and_say_how_far_they_are_from_it():
    j, sigmas = normal(D, D, seed=8) / 4 + torch.eye(D) / 2, (1.0, 0.3)
    error = normal(1, *SHAPE)
    exact = exact_costs(error, sigmas, j)

    found, variance = costs(error.expand(400, *SHAPE), sigmas, given(j), (1000, 3), generator())

    for name, cost in exact.items():
        assert found[name].kl.mean() == pytest.approx(cost.kl.item(), rel=0.01), name
        assert found[name].fit.mean() == pytest.approx(cost.fit.item(), rel=0.02), name
    assert found["full"].kl.var() == pytest.approx(variance.mean().item(), rel=0.2)


def test_a_learned_diagonal_is_one_more_covariance():
    j, error = positive(), normal(2, *SHAPE)
    learned = j.diagonal().expand(2, D).view(2, *SHAPE)

    found, _ = costs(error, (1.0, 0.3), given(j), (5, 2), generator(), learned)
    without, _ = costs(error, (1.0, 0.3), given(j), (5, 2), generator())

    assert found.keys() - without.keys() == {"diagonal-learned"}
    for item in range(2):
        exact = exact_costs(error[item : item + 1], (1.0, 0.3), j)["diagonal"]
        assert found["diagonal-learned"].kl[item].item() == pytest.approx(exact.kl.item(), rel=1e-9)


def test_products_are_those_of_automatic_differentiation():
    weight = normal(D, D, seed=9) / 4
    x, v = normal(2, 3, *SHAPE)

    def denoise(x, sigma):
        return (x + torch.tanh(x.flatten(1) @ weight).view_as(x)) / (1 + sigma[:, None, None, None])

    denoised, at = linearised(denoise, x, 0.5)

    matrices = torch.stack([torch.func.jacrev(lambda x: denoise(x[None], torch.tensor([0.5]))[0])(item) for item in x])
    matrices = matrices.view(3, D, D)
    torch.testing.assert_close(denoised, denoise(x, torch.full((3,), 0.5)))
    flat = v.flatten(1)
    torch.testing.assert_close(at.transposed(flat), torch.einsum("bij,bi->bj", matrices, flat))
    symmetric = (matrices + matrices.mT) / 2
    torch.testing.assert_close(at.symmetrised(flat), torch.einsum("bij,bj->bi", symmetric, flat))
    torch.testing.assert_close(jacobian(denoise, x[:1], 0.5, chunk=5), matrices[0])


def test_diagonals_are_those_of_both_bases():
    j = positive() + normal(D, D, seed=10) / 20
    dct = spectrum(torch.eye(D).double().view(D, *SHAPE)).view(D, D)
    torch.testing.assert_close(dct @ dct.T, torch.eye(D).double())
    probes = rademacher(20000, torch.zeros(1, *SHAPE).double(), generator())

    pixels, frequencies = diagonals(lambda v: v @ j, probes)

    torch.testing.assert_close(pixels[0], j.diagonal(), rtol=0, atol=0.02)
    torch.testing.assert_close(frequencies[0], in_octaves(dct.T @ j @ dct), rtol=0, atol=0.02)


def test_tiles_are_transformed_in_their_place():
    pictures = normal(2, 3, 16, 24)
    found, octaves = spectrum(pictures), octave_means(spectrum(pictures))
    for row, column in ((0, 0), (8, 16)):
        here = ..., slice(row, row + 8), slice(column, column + 8)
        torch.testing.assert_close(found[here], spectrum(pictures[here]))
        torch.testing.assert_close(octaves[here], octave_means(found[here]))
    # The mean of a tile is alone in its octave; the next one holds what has a frequency of at most 2.
    torch.testing.assert_close(octaves[..., 0, 0], 8 * pictures[..., :8, :8].mean(dim=(-2, -1)))
    first = torch.stack([found[..., y, x] for y, x in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2))])
    torch.testing.assert_close(octaves[..., 1, 1], first.mean(dim=0))


def test_a_negative_jacobian_leaves_what_is_left_when_x_0_is_known():
    error = normal(2, *SHAPE)

    found, _ = costs(error, (1.0, 0.3), given(-positive()), (3, 2), generator())

    # Clamped at 0: v I.
    torch.testing.assert_close(found["full"].kl, found["isotropic"].kl)


def test_the_decoder_is_the_mass_of_a_gaussian_in_a_bin():
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    mean, deviation = 0.3, 0.05

    nats = decoder(levels[:, None], torch.full((256, 1), mean, dtype=torch.float64), deviation)

    edges = torch.cat([torch.tensor([-torch.inf]), (levels[1:] + levels[:-1]) / 2, torch.tensor([torch.inf])])
    lower, upper = edges[:-1].numpy(), edges[1:].numpy()
    law = scipy.stats.norm(mean, deviation)
    # Of two differences that are the same, the one that keeps its digits.
    mass = [law.cdf(b) - law.cdf(a) if a < mean else law.sf(a) - law.sf(b) for a, b in zip(lower, upper, strict=True)]
    torch.testing.assert_close((-nats).exp(), torch.tensor(mass), rtol=1e-8, atol=1e-300)
    assert (-nats).exp().sum().item() == pytest.approx(1, rel=1e-12)


def test_the_decoder_is_finite_where_the_mean_is_far_off():
    images = torch.tensor([[-1.0], [1.0], [0.0], [127 / 127.5 - 1]])
    mean = torch.tensor([[1.0], [-1.0], [5.0], [-5.0]])

    nats = decoder(images, mean, 0.01)

    assert nats.isfinite().all()
    torch.testing.assert_close(nats, ((images - mean).abs()[:, 0].double() - 1 / 255) ** 2 / 2e-4, rtol=0.01, atol=0)


def test_the_prior_is_the_divergence_of_the_distributions():
    images, eye = normal(2, *SHAPE), torch.eye(D).double()

    expected = kl_divergence(
        MultivariateNormal(images.flatten(1), 400 * eye), MultivariateNormal(torch.zeros(D).double(), 400 * eye)
    )

    torch.testing.assert_close(prior(images, 20.0), expected)


def test_the_diagonal_cost_is_the_divergence_of_the_distributions():
    e, variances, v = normal(3, D), normal(3, D, seed=1).exp(), 0.7
    eye = torch.eye(D).double()

    found = diagonal_cost(v, e, variances)

    expected = kl_divergence(
        MultivariateNormal(e, v * eye), MultivariateNormal(torch.zeros(3, D), variances.diag_embed())
    )
    torch.testing.assert_close(found.kl, expected)


def test_of_the_trained_network_probes_and_lanczos_steps_are_enough(monkeypatch):
    """Where a step is long: sigma 1.6 to 0.29, as with T = 5."""
    step = 1.606, 0.29
    monkeypatch.setattr(
        likelihood,
        "noised",
        lambda images, *_: [(step, images + step[0] * torch.randn(images.shape, generator=generator()))],
    )

    ways = likelihood.written_out("digits", 5, 0, (64, 2), "")

    exact, probed, plain = ({name: kl[0] for name, kl in ways[way].items()} for way in ("exact", "probed", "plain"))
    assert probed["full"] == pytest.approx(exact["full"], rel=0.04)
    assert probed["isotropic-optimal"] == pytest.approx(exact["isotropic-optimal"], rel=0.01)
    for name in ("diagonal", "spectral"):
        assert exact[name] < probed[name] < 1.1 * exact[name], "noise makes a diagonal worse"
        assert plain[name] == probed[name], "which products are symmetrised makes no difference to a diagonal"
    assert exact["full"] < exact["diagonal"] < exact["isotropic-optimal"] < probed["isotropic"]
    assert abs(plain["full"] / probed["full"] - 1) > 0.005, "the question arises only if J is not symmetric"
    assert 1.05 < ways["clamped"][0] < 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("likelihood"), quick=True)


@pytest.fixture(scope="module")
def numbers(run):
    with pytest.MonkeyPatch.context() as patch:
        little = Plan("digits", images=2, chunk=1, evaluations=(10, 11), probes=(2, 2))
        patch.setattr(likelihood, "QUICK", (little, Plan("nothing", 1, 1, (10,), (2, 2))))
        found = measure(run)
        patch.setattr(likelihood, "linearised", None)
        assert measure(run) == found, "what was measured is not measured again"
    return found


def ways(**added):
    exact = {name: [1.0, 2.0] for name in ("isotropic-optimal", "diagonal", "spectral", "full")}
    return {"exact": exact, "clamped": [1.0, 1.5]} | {
        way: {n: [a + 1.0, 2.0] for n in exact} for way, a in added.items()
    }


def test_the_numbers_are_plain_and_whole(numbers):
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert [(row["T"], row["covariance"]) for row in numbers["bounds"] if row["covariance"] == "full"] == [
        (10, "full"),
        (11, "full"),
    ]
    assert len(numbers["steps"]) == len(numbers["bounds"]) // 2 * (9 + 10)
    assert any("nothing: not measured" in sentence for sentence in numbers["absent"])
    for row in numbers["bounds"]:
        assert row["bits"] == pytest.approx(row["chain"] + row["prior"] + row["decoder"])
        of_steps = [s["bits"] for s in numbers["steps"] if (s["T"], s["covariance"]) == (row["T"], row["covariance"])]
        assert sum(of_steps) == pytest.approx(row["chain"])


def test_differences_are_per_dimension_and_paired():
    about = {"data": "digits", "T": 5, "images": 2, "dimension": 1}
    rows = differences(about, [ways(probed=1.0, plain=3.0), ways(probed=2.0, plain=4.0)])

    bits = math.log(2)
    assert [row["covariance"] for row in rows] == ["isotropic-optimal", "diagonal", "spectral", "full"]
    for row in rows:
        assert row["exact"] == pytest.approx(3 / bits)
        assert row["probes"] == pytest.approx(1.5 / bits) and row["probes_error"] == pytest.approx(0.5 / bits)
        assert row["more"] == row["more_error"] == 0
        assert row["plain"] == pytest.approx(2 / bits) and row["plain_error"] == pytest.approx(0, abs=1e-12)


def test_the_page_says_who_is_ahead_and_shows_it(numbers, tmp_path):
    about = {"data": "digits", "T": 5, "images": 2, "dimension": 1024}
    checked = differences(about, [ways(probed=1.0, plain=3.0), ways(probed=2.0, plain=4.0)])

    findings = show(numbers | {"written_out": checked}, tmp_path)

    assert len(findings.figures) == 2 and len(findings.tables) == 2
    assert all(figure.file.read_bytes().startswith(b"\x89PNG") for figure in findings.figures)
    assert {len(table.head) for table in findings.tables} == {3, 4}
    assert all(len(row) == len(table.head) for table in findings.tables for row in table.rows)
    for evaluations in (10, 11):
        (sentence,) = [s for s in findings.sentences if s.startswith(f"digits, T = {evaluations}: ") and "probes" in s]
        bits = next(r["bits"] for r in numbers["bounds"] if (r["T"], r["covariance"]) == (evaluations, "full"))
        assert f"{bits:.3f}" in sentence


@pytest.mark.parametrize(
    ("more", "verdict"), [(0.5, "0.5000 ± 0.0200 fewer"), (-0.5, "0.5000 ± 0.0200 more"), (0.01, "not distinguishable")]
)
def test_a_worse_bound_is_said_to_be_worse(more, verdict):
    row = {"data": "digits", "T": 5, "error": 0.1, "more_error": 0.02, "decoder": 1.0, "prior": 0.0, "probe_error": 0.0}
    full = row | {"covariance": "full", "bits": 2.0, "more": 0.0}
    other = row | {"covariance": "isotropic-optimal", "bits": 2.0 + more, "more": more}

    assert verdict in likelihood.compared("digits", [other, full])[0]


def test_a_step_that_is_lost_is_said_to_be_lost():
    row = {"data": "digits", "T": 5, "covariance": "diagonal", "more_error": 0.01}
    gained = row | {"sigma": 20.0, "sigma_next": 6.0, "more": 0.3}
    lost = row | {"sigma": 0.3, "sigma_next": 0.03, "more": -0.2}

    (sentence,) = likelihood.step_by_step("digits", [gained, lost])
    (without,) = likelihood.step_by_step("digits", [gained])

    assert "0.3000 ± 0.0100, at σ 20 → 6" in sentence and "0.2000 ± 0.0100 at σ 0.3 → 0.03" in sentence
    assert "in no step" in without
