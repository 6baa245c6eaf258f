"""Guided chains against closed forms, and what their section says. Takes fifteen seconds on a free core."""

import math

import pytest
import torch

from evidence.report import guidance, guided, page
from evidence.report.guidance import LANCZOS_STEPS, NAMES, WAYS, Chain, exact_figures, frechet_distance, guided_figures
from evidence.report.mixture import reverse_coefficients, separated_mixture
from evidence.report.run import Run

STEP = (2.0, 0.8)


@pytest.fixture(scope="module")
def model():
    return separated_mixture()


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    return page.plain(guided.GUIDANCE.measure(Run(tmp_path_factory.mktemp("guidance"), quick=True)))


def items(model, count=5):
    generator = torch.Generator().manual_seed(0)
    clean, label = model.draw(count, generator)
    return clean + STEP[0] * torch.randn(clean.shape, generator=generator, dtype=torch.float64), label


def dense(model, name, way, x, label):
    """Sigma of a step, (batch, 8, 8), by autograd."""
    sigma = STEP[0]

    def denoised(one, k):
        score = torch.func.grad(lambda x: model.class_posterior(x[None], sigma)[0, k].log())(one)
        return model.denoised(one[None], sigma)[0] + (way == "denoiser") * sigma**2 * score

    j = torch.stack([torch.func.jacfwd(lambda x, k=k: denoised(x, k))(one) for one, k in zip(x, label, strict=True)])
    v, b = reverse_coefficients(*STEP)
    eye = torch.eye(8, dtype=torch.float64)
    shown = j.diagonal(dim1=1, dim2=2)
    j = {
        "isotropic": 0 * j,
        "isotropic-optimal": shown.mean(dim=1)[:, None, None] * eye,
        "diagonal": torch.diag_embed(shown),
    }.get(name, j)
    return v * eye + b**2 * sigma**2 * j


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["isotropic", "isotropic-optimal", "diagonal", "full, K = 3"])
def test_the_noise_and_the_pull_have_one_covariance(model, name, way):
    x, label = items(model)
    chain, expected = Chain(model, name, way, label), dense(model, name, way, x, label)
    g, z = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    pull, noise = chain.apply(x, *STEP, g), chain.noise(x, *STEP, z)

    torch.testing.assert_close(pull, (expected @ g[:, :, None])[:, :, 0], rtol=1e-9, atol=1e-10)
    values, vectors = torch.linalg.eigh((expected + expected.mT) / 2)
    ideal = vectors @ (values.sqrt()[:, :, None] * (vectors.mT @ z[:, :, None]))
    bound = 0.03 if name in LANCZOS_STEPS else 1e-9
    assert ((noise - ideal[:, :, 0]).norm(dim=1) / ideal.norm(dim=(1, 2))).max() < bound


def test_guidance_in_the_denoiser_is_the_posterior_mean_of_the_class(model):
    x, label = items(model)
    found = guidance.guided_denoiser(model, label)(x, torch.full((len(x),), STEP[0], dtype=torch.float64))

    c = model.covariance
    gain = c @ torch.linalg.inv(c + STEP[0] ** 2 * torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(found, model.means[label] + (x - model.means[label]) @ gain.T)


@pytest.mark.parametrize("way", ["mean", "point"])
def test_a_step_is_equation_10(model, way):
    x, label = items(model)
    z = torch.zeros_like(x)

    found = Chain(model, "full, K = 3", way, label).step(x, *STEP, z)

    mean = model.reverse_mean(x, *STEP)
    at = (mean, STEP[1]) if way == "mean" else (x, STEP[0])
    pull = model.reverse_covariance(x, *STEP) @ guidance.gradient(model, *at, label)[:, :, None]
    torch.testing.assert_close(found, mean + pull[:, :, 0], rtol=1e-9, atol=1e-10)


def test_the_exact_conditional_chain_is_reached_with_the_full_covariance():
    """In the denoiser the chain of each class is Gaussian, and exact in any number of steps but for Lanczos' error."""
    found, exact = (
        [one["frechet"] for one in runs]
        for runs in (
            [guided_figures("full, K = 3", "denoiser", 4, 500, seed, "") for seed in range(3)],
            [exact_figures(500, seed, "") for seed in range(3)],
        )
    )
    isotropic = guided_figures("isotropic", "denoiser", 4, 500, 0, "")["frechet"]
    assert abs(sum(found) - sum(exact)) < 0.3 * sum(exact)
    assert isotropic > 10 * found[0]


def test_the_frechet_distance_of_known_gaussians():
    """Samples with exactly the moments m, S: shifted, and stretched along the axes."""
    base = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    base = (base - base.mean(dim=0)) @ torch.linalg.inv(torch.linalg.cholesky(base.T.cov())).T
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    shift = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)

    assert frechet_distance(base, torch.zeros(3).double(), eye) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(base + shift, torch.zeros(3).double(), eye) == pytest.approx(25)
    assert frechet_distance(base * scale, torch.zeros(3).double(), eye) == pytest.approx(0 + 1 + 4)


def test_the_frechet_distance_does_not_ask_for_a_common_basis():
    factor = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one, other = factor @ factor.mT + 0.1 * torch.eye(4)
    base = torch.randn(500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    base = (base - base.mean(dim=0)) @ torch.linalg.inv(torch.linalg.cholesky(base.T.cov())).T
    product = torch.linalg.eigvals(one @ other).sqrt().real.sum()
    expected = one.trace() + other.trace() - 2 * product

    found = frechet_distance(base @ torch.linalg.cholesky(one).T, torch.zeros(4).double(), other)

    assert found == pytest.approx(expected.item(), rel=1e-9)


def test_evaluations():
    assert guidance.evaluations_of_a_step("mean", "isotropic") == 1
    assert guidance.evaluations_of_a_step("point", "full, K = 1") == 3
    assert guidance.evaluations_of_a_step("denoiser", "full, K = 3") == 4


@pytest.mark.parametrize(("name", "way"), [("lanczos", "mean"), ("isotropic", "x_t")])
def test_an_unknown_chain_is_refused(model, name, way):
    with pytest.raises(ValueError, match="expected one of"):
        Chain(model, name, way, torch.zeros(1).long())


def test_the_section_says_what_it_measured(numbers, tmp_path):
    findings = guided.GUIDANCE.show(numbers, tmp_path)

    assert tuple(guided.STYLES) == NAMES and tuple(guided.WAYS) == WAYS
    assert len(numbers["chains"]) == len(NAMES) * len(WAYS) * len(numbers["steps"])
    assert all(math.isfinite(row["frechet"]["stderr"]) and 0 <= row["share"]["value"] <= 1 for row in numbers["chains"])
    assert findings.figures[0].file.read_bytes().startswith(b"\x89PNG")
    assert all(len(row) == len(table.head) for table in findings.tables for row in table.rows)
    assert len(findings.tables[0].rows) == len(NAMES) * len(WAYS)
    assert all(name in findings.sentences[1] for name in NAMES)


def test_more_steps_come_nearer(numbers):
    for name in NAMES:
        for way in ("mean", "point"):
            few, many = (
                row["frechet"]["value"] for row in numbers["chains"] if (row["covariance"], row["way"]) == (name, way)
            )
            assert many < few
