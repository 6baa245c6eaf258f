"""Stochastic Lanczos quadrature against dense linear algebra in float64. Takes two seconds."""

import math

import pytest
import torch

from evidence.report.quadrature import gauss_rule, rademacher, trace_rule


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def matrices(spectrum, batch=3):
    """A (batch, d, d) with this spectrum (d,), random eigenvectors, and v (batch, d) -> A v."""
    d = len(spectrum)
    vectors = torch.linalg.qr(normal(batch, d, d, seed=7))[0]
    a = vectors * torch.as_tensor(spectrum, dtype=torch.float64) @ vectors.mT
    return a, lambda v: (a.to(v) @ v[:, :, None])[:, :, 0]


def of(function, a):
    values, vectors = torch.linalg.eigh(a)
    return vectors * function(values)[:, None] @ vectors.mT


def form(matrix, z):
    return torch.einsum("bi,bij,bj->b", z, matrix, z)


FUNCTIONS = [torch.log, torch.reciprocal, lambda x: 0.1 / (0.1 + x) - 1 + torch.log1p(x / 0.1)]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_eigenvalue_is_found_in_as_many_steps(function):
    a, matvec = matrices(torch.logspace(-2, 1, 24))
    z = normal(3, 24)

    found = gauss_rule(matvec, z, 24).integral(function)

    torch.testing.assert_close(found, form(of(function, a), z), rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_it_is_a_gauss_rule(steps):
    """Exact to degree 2 K - 1, and no further."""
    a, matvec = matrices(torch.linspace(-1, 1, 40))
    z = normal(3, 40)
    rule = gauss_rule(matvec, z, steps)

    for degree in range(2 * steps):
        expected = form(torch.linalg.matrix_power(a, degree), z)
        torch.testing.assert_close(rule.integral(lambda x, n=degree: x**n), expected, rtol=1e-11, atol=1e-12)
    missed = rule.integral(lambda x: x ** (2 * steps)) - form(torch.linalg.matrix_power(a, 2 * steps), z)
    assert (missed < -1e-4).all(), "the rule's error has the sign of -f^(2K)"


def test_log_and_inverse_are_bounded_from_their_known_sides():
    # Golub and Meurant, theorem 6.4: by the sign of the derivative of order 2 K.
    a, matvec = matrices(torch.logspace(-2, 0, 50))
    z = normal(3, 50)

    for steps in (2, 4, 8):
        rule = gauss_rule(matvec, z, steps)
        assert (rule.integral(torch.log) > form(of(torch.log, a), z)).all()
        assert (rule.integral(torch.reciprocal) < form(torch.linalg.inv(a), z)).all()


def test_it_converges_geometrically_and_at_a_kink_like_the_inverse_square():
    a, matvec = matrices(torch.linspace(-0.5, 1, 600), batch=1)
    z = normal(1, 600)

    def errors(function, steps):
        return [(gauss_rule(matvec, z, k).integral(function) - form(of(function, a), z)).abs().item() for k in steps]

    smooth = errors(lambda x: (x + 1).log(), (5, 10, 15))
    assert smooth[1] < smooth[0] * 1e-3 and smooth[2] < smooth[1] * 1e-3
    clamped = (
        errors(lambda x: (10 * x.clamp_min(0)).log1p(), range(8, 16)),
        errors(lambda x: (10 * x.clamp_min(0)).log1p(), range(64, 72)),
    )
    # Of eight neighbours, as the error swings with where the kink is between nodes.
    assert 1 / 200 < max(clamped[1]) / max(clamped[0]) < 1 / 10


@pytest.mark.parametrize("function", [torch.log, torch.reciprocal])
def test_traces_have_the_mean_and_the_variance_of_hutchinsons_estimate(function):
    a, matvec = matrices(torch.logspace(-1, 1, 64), batch=4)
    f = of(function, a)
    diagonal = f.diagonal(dim1=1, dim2=2)
    probes = rademacher(400, torch.zeros(4, 64, dtype=torch.float64), generator())

    estimates = trace_rule(matvec, probes, 20).integral(function)

    assert estimates.shape == (400, 4)
    spread = (2 * (f.square().sum(dim=(1, 2)) - diagonal.square().sum(dim=1))).sqrt()
    torch.testing.assert_close(estimates.std(dim=0), spread, rtol=0.15, atol=0)
    assert ((estimates.mean(dim=0) - diagonal.sum(dim=1)).abs() < 3.5 * spread / math.sqrt(400)).all()


def test_a_diagonal_matrix_has_its_trace_from_one_probe():
    diagonal = torch.linspace(1, 2, 30, dtype=torch.float64)
    probes = rademacher(1, torch.zeros(2, 30, dtype=torch.float64), generator())

    found = trace_rule(lambda v: v * diagonal, probes, 12).integral(torch.log)

    torch.testing.assert_close(found, diagonal.log().sum().expand(1, 2), rtol=1e-10, atol=0)


def test_a_krylov_space_that_ends_early_ends_for_its_item_alone():
    spectra = torch.stack([torch.full((12,), 3.0), torch.tensor([1.0, 5.0]).repeat(6), torch.arange(1.0, 13)]).double()
    z = normal(3, 12)

    rule = gauss_rule(lambda v: v * spectra, z, 12)

    for function in (torch.log, torch.reciprocal):
        torch.testing.assert_close(rule.integral(function), (z**2 * function(spectra)).sum(1), rtol=1e-9, atol=1e-9)


def test_more_steps_than_dimensions_change_nothing():
    a, matvec = matrices(torch.logspace(-2, 1, 6))
    z = normal(3, 6)

    found = gauss_rule(matvec, z, 20).integral(torch.log)

    torch.testing.assert_close(found, form(of(torch.log, a), z), rtol=1e-9, atol=1e-9)


def test_nothing_comes_of_nothing():
    _, matvec = matrices(torch.logspace(-2, 1, 6))
    z = torch.zeros(3, 6, dtype=torch.float64)

    assert gauss_rule(matvec, z, 4).integral(torch.exp).equal(torch.zeros(3, dtype=torch.float64))
    # A matrix of zeros: f(0) |z|^2.
    torch.testing.assert_close(
        gauss_rule(torch.zeros_like, z + 2, 4).integral(torch.exp), torch.full((3,), 24.0).double()
    )


def test_single_precision_is_enough_for_three_digits():
    a, matvec = matrices(torch.logspace(-2, 0, 100))
    z = normal(3, 100)

    found = gauss_rule(matvec, z.float(), 40).integral(torch.log)

    assert found.dtype == torch.float64
    torch.testing.assert_close(found, form(of(torch.log, a), z), rtol=1e-4, atol=0)


def test_items_of_a_batch_are_independent():
    a, matvec = matrices(torch.logspace(-1, 1, 32))
    z = normal(3, 32) * torch.tensor([1e-6, 1.0, 1e6], dtype=torch.float64)[:, None]
    together = gauss_rule(matvec, z, 5)

    for item in range(3):
        alone = gauss_rule(lambda v, i=item: v @ a[i], z[item : item + 1], 5)
        torch.testing.assert_close(together.nodes[item], alone.nodes[0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(together.weights[item], alone.weights[0], rtol=1e-9, atol=0)


def test_probes_are_signs_with_the_identity_for_covariance():
    probes = rademacher(20000, torch.zeros(2, 3), generator())

    assert probes.dtype == torch.float32 and probes.abs().eq(1).all()
    flat = probes.flatten(1)
    assert (flat.T @ flat / 20000 - torch.eye(6)).abs().max() < 0.03


@pytest.mark.parametrize(
    ("z", "steps", "matvec"),
    [
        (torch.ones(4), 2, torch.clone),
        (torch.ones(2, 4, dtype=torch.int64), 2, torch.clone),
        (torch.ones(2, 4), 0, torch.clone),
        (torch.ones(2, 4), 2, lambda v: v * math.nan),
        (torch.ones(2, 4), 2, lambda v: v / 0),
        (torch.ones(2, 4), 2, lambda v: v[:, :2]),
    ],
)
def test_what_makes_no_sense_is_refused(z, steps, matvec):
    with pytest.raises(ValueError, match="expected"):
        gauss_rule(matvec, z, steps)
