"""The laws that families of starts are tried on: against quadrature and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from scipy.stats import t as student_t

import lgs
from evidence.report import families


@pytest.fixture(scope="module")
def student() -> families.Student:
    return families.Student()


def density(x: float, sigma: float) -> float:
    """Of one number with noise, by adaptive quadrature."""
    at = lambda y: student_t.pdf(y / families.SCALE, 3) / families.SCALE * norm.pdf(x - y, scale=sigma)  # noqa: E731
    points = sorted({0.0, x, x - 3 * sigma, x + 3 * sigma})
    return quad(at, -60, 60, points=points, limit=400)[0]


@pytest.mark.parametrize("sigma", [0.05, 0.5, 2.0])
def test_density_and_posterior_mean_of_student_s_law(student, sigma):
    places = [-3.0, -0.4, 0.0, 0.1, 1.0, 6.0]
    x = torch.tensor(places, dtype=torch.float64)[:, None].repeat(1, families.NUMBERS)

    found = student.log_density(x, sigma) / families.NUMBERS
    exact = torch.tensor([math.log(density(place, sigma)) for place in places], dtype=torch.float64)
    torch.testing.assert_close(found, exact, rtol=0, atol=2e-4)

    h = 1e-3 * sigma
    slopes = [(math.log(density(p + h, sigma)) - math.log(density(p - h, sigma))) / (2 * h) for p in places]
    tweedie = x[:, 0] + sigma**2 * torch.tensor(slopes, dtype=torch.float64)
    denoised = student.denoised(x, torch.full((len(x),), sigma, dtype=torch.float64))[:, 0]
    torch.testing.assert_close(denoised, tweedie, rtol=1e-3, atol=2e-3)


def test_its_samples_have_its_law(student):
    samples = student.sample(20000, torch.Generator().manual_seed(0))

    assert samples.std().item() == pytest.approx(0.5, rel=0.1)
    assert abs(families._divergence(student.shares(samples), 20000)) < 0.02


def test_what_ends_with_the_right_law_costs_nothing_and_what_does_not_costs_its_kl():
    four = families.Four()
    exact = four.sample(20000, torch.Generator().manual_seed(1))
    assert abs(families._divergence(four.shares(exact), 20000)) < 0.02

    # Every number of Student's law shifted to a half: half of the bins are empty, and the others twice as full.
    place = torch.rand(20000, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / 2
    counts = 20000 / 32
    expected = (math.log(1 / 2 / (1 + 1 / counts)) + math.log((20000 + 64) / 64)) / 2
    found = families._divergence(families._histograms(place), 20000)
    assert found == pytest.approx(expected, rel=0.02)


def test_the_bound_of_a_gaussian_that_is_off_is_its_kl(monkeypatch):
    """Where the data are the mixture's, and the start is told another law: against the mean over fresh samples."""
    start = lgs.GaussianPrior(torch.zeros(8), torch.eye(8)[:, :1], torch.ones(1), 1.0)
    monkeypatch.setattr(families, "begin", lambda *_: start)
    monkeypatch.setattr(families, "SIGMAS", (2.0,))

    [bound] = families.measured("mixture", "gaussian", 0, 50, "")["bound"]

    four = families.Four()
    x = four.sample(50000, torch.Generator().manual_seed(9))
    x = x + 2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    own = norm.logpdf(x.numpy(), scale=np.sqrt(5)).sum(axis=1)
    exact = (four.log_density(x, 2.0).numpy() - own).mean()
    assert bound == pytest.approx(exact, rel=0.15, abs=0.02)


def test_the_page_says_who_is_ahead(tmp_path):
    sigmas = list(families.SIGMAS)
    rows = [
        {"law": "mixture", "family": family, "bound": [[part * nats] * 5 for part in (1, 1.01, 0.99)],
         "ends": [[0.1] * 5] * 3}
        for family, nats in (("pure noise", 2.0), ("gaussian", 1.0), ("mixture", 0.2), ("flow", 1.5))
    ]  # fmt: skip

    found = families.show({"sigmas": sigmas, "rows": rows}, tmp_path)

    assert found.sentences[0].startswith("a mixture of four: the mixture against the Gaussian, by the bound: ahead at")
    assert "the flow against the Gaussian, by the bound: behind at" in found.sentences[1]
    assert found.figures[0].file.exists() and len(found.tables[0].rows) == 8
