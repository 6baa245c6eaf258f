"""The sections with exact answers, measured quickly: what they must find. Takes twenty seconds on a free core."""

import math

import numpy as np
import pytest
import torch
from shim.gaussian import Gaussian

from evidence.report import exact, kernels, page, paths
from evidence.report.lanczos_error import LANCZOS_ERROR, LEVELS, bound, errors
from evidence.report.mixture import Mixture, separated_mixture
from evidence.report.run import Run


def measured(section, folder):
    return page.plain(section.measure(Run(folder, quick=True)))


@pytest.fixture(scope="module")
def path_kl(tmp_path_factory):
    return measured(exact.PATH_KL, tmp_path_factory.mktemp("path_kl"))


@pytest.fixture(scope="module")
def lanczos_error(tmp_path_factory):
    return measured(LANCZOS_ERROR, tmp_path_factory.mktemp("lanczos_error"))


@pytest.mark.parametrize(
    ("name", "power", "within"), [("isotropic", -1, 0.1), ("diagonal", -1, 0.1), ("full", -2, 0.2)]
)
def test_the_path_kl_falls_as_the_paper_has_it(path_kl, name, power, within):
    slope = path_kl["slopes"][name]
    assert abs(slope["value"] - power) < within
    assert 0 < slope["stderr"] < within


def test_the_secant_is_of_second_order_at_one_evaluation_a_step(path_kl):
    slope, kl = path_kl["slopes"]["secant"], path_kl["kl"]["secant"]
    assert slope["value"] < -1.8 and 0 < slope["stderr"] < 0.3
    assert all(point["stderr"] < 0.5 * point["value"] for point in kl)


def test_a_path_of_the_secant_is_exact_where_data_has_one_variance(monkeypatch):
    d = 8
    gaussian = Mixture(torch.ones(1).double(), torch.zeros(1, d).double(), 0.5 * torch.eye(d).double())
    monkeypatch.setattr(paths.mixture, "separated_mixture", lambda: gaussian)
    assert paths.secant_kl(4, 20, "")["kl"].max() < 1e-8
    # A vector is one octave, and has more than one variance here.
    other = Mixture(gaussian.weights, gaussian.means, 0.5 * torch.eye(d).double() + 0.5)
    monkeypatch.setattr(paths.mixture, "separated_mixture", lambda: other)
    assert paths.secant_kl(4, 20, "")["kl"].mean() > 1e-3


def test_only_the_full_covariance_is_on_its_way_to_the_second_order(path_kl):
    local = path_kl["local_slopes"]
    assert local["full"] == sorted(local["full"], reverse=True) and local["full"][-1] < -1.9
    assert all(-1.1 < local[name][-1] < -0.9 for name in exact.SIMPLE)


def test_of_what_formulas_have_the_full_covariance_is_best_and_the_diagonal_second(path_kl):
    for i, _ in enumerate(path_kl["steps"]):
        order = sorted(kernels.NAMES, key=lambda name: path_kl["kl"][name][i]["value"])
        assert order[:2] == ["full", "diagonal"]


def test_a_path_is_the_sum_of_its_steps():
    model = separated_mixture()
    found = paths.path_kl(0.2, 8, 30, 3, version="")
    clean, eps = kernels.starts(model, 30, 3)
    levels = np.geomspace(20, 0.05, 9).tolist()
    assert len(levels) == 9
    total = sum(
        kernels.step_kl(model, clean + a * eps, a, b, order=24)["diagonal"]
        for a, b in zip(levels, levels[1:], strict=False)
    )
    torch.testing.assert_close(torch.from_numpy(found["diagonal"]), total, rtol=1e-3, atol=0)


def test_the_products_noise_is_what_the_formulas_say(path_kl):
    cases = path_kl["product"]["cases"]
    at = path_kl["steps"].index(path_kl["product"]["steps"])
    for name in ("isotropic", "isotropic-large", "lanczos, K = 8 = d"):
        assert cases[name]["largest_error"] < 1e-9
    assert abs(cases["lanczos, K = 8 = d"]["added"]["value"]) < 1e-9
    for name in ("isotropic", "isotropic-large"):
        expected = path_kl["kl"][name][at]["value"] - path_kl["kl"]["full"][at]["value"]
        assert cases[name]["added"]["value"] == pytest.approx(expected, rel=0.02)


def test_probes_and_lanczos_steps_bring_the_product_nearer(path_kl):
    cases = path_kl["product"]["cases"]
    for name in exact.PROBED:
        few, many = (case for case_name, case in cases.items() if case_name.startswith(f"{name}, "))
        assert many["largest_error"] < few["largest_error"]
        assert many["added"]["value"] < few["added"]["value"]
    assert cases["lanczos, K = 1"]["largest_error"] < cases["lanczos, K = 1, plain"]["largest_error"] / 3


def test_one_lanczos_step_keeps_the_second_order_if_its_free_vector_is_used(path_kl):
    slope, kl = path_kl["slopes"], path_kl["kl"]
    assert abs(slope["lanczos, K = 1"]["value"] - slope["full"]["value"]) < 0.05
    assert abs(slope["lanczos, K = 1, plain"]["value"] + 1) < 0.1
    for full, one, diagonal in zip(kl["full"], kl["lanczos, K = 1"], kl["diagonal"], strict=True):
        assert full["value"] < one["value"] < diagonal["value"] / 2


def test_what_lanczos_steps_add_falls_with_their_number():
    """Plain and extended, and for more steps than the quick report has."""
    added = {
        (k, extended): paths.product_kl("lanczos", {"lanczos_steps": k, "extended": extended}, 4, 40, "")["kl"].mean()
        for k in (1, 2, 3)
        for extended in (False, True)
    }
    for k in (1, 2, 3):
        assert 0 < added[k, True] < added[k, False] / 2
        assert k == 1 or added[k, False] < added[k - 1, False] / 10


def test_the_steps_needed_are_where_the_curve_is(path_kl):
    needed = path_kl["steps_needed"]
    assert needed["isotropic"]["0.01"]["extrapolated"] and needed["isotropic"]["0.01"]["steps"] > 256
    steps = needed["full"]["0.1"]["steps"]
    assert not needed["full"]["0.1"]["extrapolated"] and 4 < steps < 16


@pytest.mark.parametrize("kappa", [1.5, 6.0, 400.0])
def test_the_bound_bounds_the_best_polynomial(kappa):
    """That of degree < K by interpolation in Chebyshev points, which is no better than the best."""
    for steps in range(1, 12):
        grid = np.linspace(1, kappa, 4001)
        fitted = np.polynomial.chebyshev.Chebyshev.interpolate(np.sqrt, steps - 1, domain=[1, kappa])
        assert 2 * np.abs(fitted(grid) - np.sqrt(grid)).max() < 1.2 * bound(1, kappa, steps)


def test_the_bound_decays_at_the_rate_of_the_condition_number():
    rho = (math.sqrt(6) + 1) / (math.sqrt(6) - 1)
    assert bound(0.5, 3, 4) / bound(0.5, 3, 5) == pytest.approx(rho)
    assert bound(5, 30, 3) == pytest.approx(math.sqrt(10) * bound(0.5, 3, 3))


def test_the_products_error_is_that_of_dense_algebra():
    """Plain Lanczos in a dense orthonormal basis of the Krylov space, for one draw."""
    step, k = LEVELS[1], 3
    model = Gaussian(1024, 2.0, rotated=False)
    variance = model.reverse_variance("ve", *step, 1.0)
    _, z = torch.randn(2, 2, 1024, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for z_i, error in zip(z, errors(step, False, k, 2, version="")["error"][k - 1], strict=True):
        basis = torch.linalg.qr(torch.stack([variance**i * z_i for i in range(k)], dim=1)).Q
        values, vectors = torch.linalg.eigh(basis.T @ (variance[:, None] * basis))
        noise = basis @ (vectors @ (values.sqrt() * (vectors.T @ (basis.T @ z_i))))
        expected = (noise - variance.sqrt() * z_i).norm() / (variance.sqrt() * z_i).norm()
        assert error == pytest.approx(expected.item(), rel=1e-6)


def test_the_lanczos_error_keeps_to_its_bound_and_extending_pays(lanczos_error):
    for case in lanczos_error["cases"]:
        assert case["kept"]
        assert case["plain"]["decay"] > case["bound"]["decay"] > 1
        assert all(e < p for e, p in zip(case["extended"]["value"], case["plain"]["value"], strict=True))
        assert case["plain"]["value"] == sorted(case["plain"]["value"], reverse=True)


@pytest.mark.parametrize("section", [exact.PATH_KL, LANCZOS_ERROR], ids=lambda section: section.id)
def test_the_page_has_words_figures_and_tables(section, request, tmp_path):
    findings = section.show(request.getfixturevalue(section.id), tmp_path)

    assert all(figure.file.read_bytes().startswith(b"\x89PNG") for figure in findings.figures)
    assert findings.figures and findings.tables and len(findings.sentences) >= 3
    words = " ".join([*findings.sentences, *(cell for table in findings.tables for row in table.rows for cell in row)])
    assert "nan" not in words.split() and "e+" not in words
    assert all(len(row) == len(table.head) for table in findings.tables for row in table.rows)
