import json
import math

import pytest
import torch
from shim.gaussian import Gaussian, relative_error

import lgs
from evidence.models import DIGITS
from lgs.digits import Digits, load_unet

from .symmetry import describe, figures, jacobian, karras_sigmas, plot, reverse_noise, sample, symmetry_study


@pytest.fixture(scope="module")
def study():
    return symmetry_study(quick=True)


def probes(d, n=4):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_an_exact_model_is_symmetric():
    x = torch.zeros(1, 48, dtype=torch.float64)

    found = figures(jacobian(Gaussian(48, 1.6).denoiser(), x, 0.5, chunk=20), 0.5, probes(48))

    assert found["asymmetry"] < 1e-6
    assert found["krylov"] < 1e-6
    assert found["negative"] == 0
    assert all(found[f"noise_{steps}"] < 1e-6 for steps in (1, 2, 3))
    assert found["cut_3"] < found["cut_2"] < found["cut_1"] < 0.2


def test_a_linear_model_has_its_matrix_and_its_ratio():
    # I + r R, R antisymmetric and orthogonal: |J - J^T| / |J| = 2 r / sqrt(1 + r^2).
    d, r = 6, 0.3
    turn = torch.kron(torch.eye(d // 2), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])).double()
    matrix = torch.eye(d, dtype=torch.float64) + r * turn

    j = jacobian(lambda x, sigma: x @ matrix.T, torch.zeros(1, d, dtype=torch.float64), 1.0, chunk=4)
    found = figures(j, 1.0, probes(d))

    assert j.equal(matrix)
    assert found["asymmetry"] == pytest.approx(2 * r / math.sqrt(1 + r**2), rel=1e-12)
    # J v1 = v1 + r R v1: v2 = R v1, v2'J v1 = r and v1'J v2 = -r.
    assert found["krylov"] == pytest.approx(2, rel=1e-12)


def test_negative_eigenvalues_are_counted_by_their_squares():
    found = figures(torch.diag(torch.tensor([3.0, 2.0, 1.0, -1.0, -1.0])).double(), 1.0, probes(5))

    assert found["negative"] == pytest.approx(2 / 16)


def test_the_noise_is_the_square_root_when_the_krylov_space_is_whole():
    gaussian, z = Gaussian(5, 1.0), probes(5)

    noise = reverse_noise(lambda v: gaussian.apply(lambda lam: lam, v), z, 5, 0.1, 2.0)

    assert relative_error(noise, gaussian.apply(lambda lam: (0.1 + 2.0 * lam).sqrt(), z)) < 1e-8


@pytest.mark.parametrize(("guidance", "steps"), [(1.0, 1), (3.0, 3)])
def test_with_the_plain_product_it_is_the_plugins_sampler(guidance, steps):
    sigmas = karras_sigmas(10).tolist()
    denoise = Digits(load_unet(DIGITS), torch.arange(2), guidance)
    draws = torch.randn(len(sigmas) - 1, 2, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    left = iter(draws[1:])
    options = lgs.Options(jvp="forward", lanczos_steps=steps)

    expected = lgs.sample(denoise, draws[0] * sigmas[0], sigmas, options, noise=lambda *_: next(left))
    found = sample(denoise, draws, sigmas, steps, symmetrised=False)

    assert relative_error(found, expected) < 3e-3


def test_every_figure_is_finite(study):
    assert len(study["asymmetry"]) == 8 and len(study["samples"]) == 1
    for row in study["asymmetry"] + study["samples"]:
        assert all(isinstance(value, str) or math.isfinite(value) for value in row.values()), row
    assert json.loads(json.dumps(study)) == study


def test_the_tables_and_the_picture_are_there(study, tmp_path):
    plot(study, tmp_path / "symmetry.png")

    assert (tmp_path / "symmetry.png").read_bytes().startswith(b"\x89PNG")
    rows = [line for line in describe(study).splitlines() if "labelled" in line or "any digit" in line]
    assert len(rows) == 8 and len(set(map(len, rows))) == 1
