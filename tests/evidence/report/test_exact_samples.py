"""`.exact_samples`: laws whose distances know exact samples, denoisers that fit, what is said. About 25 s."""

import json

import pytest
import torch
from PIL import Image

from evidence.report import exact_samples
from evidence.report.exact_samples import LAWS, METRIC, SIGMA_MAX, at_budget, measure, measured_group, show
from evidence.report.run import Run
from evidence.report.samplers import CHEAP, DETERMINISTIC, FULL

LAW = pytest.mark.parametrize("law", LAWS)


@LAW
def test_a_denoiser_is_the_posterior_mean_of_its_law(law):
    """E[x_0 | x] is the best guess of x_0: nothing of what it misses is linear in x or in the guess itself."""
    known, generator = LAWS[law](), torch.Generator().manual_seed(3)
    clean = known.exact(20000, generator)
    for sigma in (0.3, 2.0):
        x = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        guess = known.denoised(x, torch.full((len(x),), sigma, dtype=x.dtype))
        missed = clean - guess
        scale = (missed.square().sum() * guess.square().sum()).sqrt()
        assert abs((missed * guess).sum() / scale) < 0.01
        assert abs((missed * x).sum() / (missed.norm() * x.norm())) < 0.01
        assert missed.norm() < 0.95 * min(clean.norm(), (x - clean).norm())


@LAW
def test_the_diagonal_is_that_of_the_denoisers_jacobian(law):
    known = LAWS[law]()
    x = known.exact(1, torch.Generator().manual_seed(4)).double()
    sigma = torch.tensor([0.7], dtype=x.dtype)
    if law == "gaussian":
        x, sigma = x.float(), sigma.float()
    jacobian = torch.func.jacfwd(lambda x: known.denoised(x[None], sigma)[0])(x[0])
    torch.testing.assert_close(known.diagonal(x, sigma)[0], jacobian.diagonal(), rtol=1e-3, atol=1e-4)


@LAW
def test_exact_samples_are_near_and_narrowed_ones_are_not(law):
    known, generator = LAWS[law](), torch.Generator().manual_seed(5)
    exact = known.exact(known.size, generator)
    chance = abs(known.distance(exact))
    assert known.distance(0.95 * exact) > 1.5 * chance
    assert known.distance(0.8 * exact) > 10 * chance


def test_trajectories_start_from_the_exact_law(monkeypatch):
    started = []

    def sample(solver, options, denoise, sigmas, noise, learned):
        started.append(noise() * sigmas[0])
        assert not noise().equal(noise())
        return started[0], 1.0

    monkeypatch.setattr(exact_samples, "sample", sample)
    measured_group("gaussian", "lgs", {}, 3, 0, "")
    along = exact_samples.gaussian().denoised(started[0], torch.full((len(started[0]),), 1e-3))
    # The largest eigenvalue, 156, is beside 400 of noise.
    assert started[0].var() == pytest.approx(SIGMA_MAX**2 + 0.25, rel=0.01)
    assert torch.linalg.matrix_norm(along, 2) ** 2 / len(along) > 500


def test_the_full_covariance_beats_the_isotropic_one_in_few_steps():
    """What the whole section is about, at its smallest."""
    full, isotropic = (
        measured_group("gaussian", "lgs", {"covariance": name, "jvp": "finite-difference"}, 5, 0, "")
        for name in ("lanczos", "isotropic")
    )
    assert full[METRIC] < 0.1 * isotropic[METRIC]


def test_quick_numbers_are_plain_and_come_again(tmp_path):
    numbers = measure(Run(tmp_path, quick=True))
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert measure(Run(tmp_path, quick=True)) == numbers
    found = show(numbers, tmp_path)
    assert len(found.sentences) >= 2 and len(found.tables) == 2
    assert Image.open(found.figures[0].file).width > 1000


def test_what_is_said():
    def row(id, family, steps, evaluations, *distances):
        return {
            "id": id,
            "name": id.upper(),
            "family": family,
            "steps": steps,
            "evaluations": evaluations,
            "groups": {METRIC: list(distances)},
        }

    rows = [
        row("k1", FULL, 5, 9, 0.1, 0.12),
        row("iso", CHEAP, 10, 10, 0.5, 0.52),
        row("ode", DETERMINISTIC, 10, 10, 0.05, 0.07),
        row("dear", FULL, 20, 39, 0.0, 0.0),
    ]
    assert at_budget("a law", rows, 10) == (
        "A law, at most 10 model evaluations, the best of each family: K1, 5 steps: 0.110 ± 0.010. It is better than "
        "ISO, 10 steps: 0.510 ± 0.010; worse than ODE, 10 steps: 0.060 ± 0.010."
    )
    assert at_budget("a law", rows, 5) is None
