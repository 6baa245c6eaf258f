"""Options as values: checked once, immutable, and what is known of them without a model."""

import pytest
import torch

import lgs
from lgs._ffi import library


def test_options_are_values():
    options = lgs.Options(eta=0.5, lanczos_steps=torch.tensor(2))
    assert (options.eta, options.lanczos_steps, options.covariance) == (0.5, 2, "lanczos")
    assert options == lgs.Options(**options.as_dict()) and hash(options) == hash(lgs.Options(**options.as_dict()))
    assert options != lgs.Options()
    assert eval(repr(options)) == options
    with pytest.raises(AttributeError, match="cannot be changed"):
        options.eta = 1.0
    with pytest.raises(AttributeError, match="no option 'etta'"):
        options.etta  # noqa: B018


def test_each_is_checked_once_and_none_where_nothing_changes(monkeypatch):
    """By the library, when they are made; what is derived from them is not parsed and checked again here."""
    checks = []
    check = library().text
    monkeypatch.setattr(library(), "text", lambda *arguments: checks.append(arguments) or check(*arguments))
    options = lgs.Options(lanczos_steps=1, jvp="finite-difference")
    assert len(checks) == 1
    x = torch.randn(2, 8)
    lgs.sample(lambda x, sigma: x / 2, x, [1.0, 0.5, 0.0], options)
    lgs.reverse_noise(lambda x, sigma: x / 2, x, 1.0, 0.5, x, options)
    assert lgs.Options.of(options) is options and len(checks) == 1


def test_some_changed_are_as_if_made_so():
    options = lgs.Options(eta=0.5)
    changed = options._with(precision="float16", lanczos_steps=2)
    assert changed == lgs.Options(eta=0.5, precision="float16", lanczos_steps=2) and options == lgs.Options(eta=0.5)
    assert options._with(eta=0.5) is options
    x = torch.randn(2, 8)
    with pytest.raises(lgs.InvalidArgument, match="s_noise: expected a number from 0 to 100, got 150"):
        lgs.sample(lambda x, sigma: x / 2, x, [1.0, 0.5, 0.0], options._with(s_noise=150.0))


@pytest.mark.parametrize(
    ("covariance", "products"),
    [
        ("lanczos", 5),
        ("isotropic-optimal", 7),
        ("diagonal", 7),
        ("spectral", 7),
        ("isotropic", 0),
        ("isotropic-large", 0),
        ("diagonal-learned", 0),
    ],
)
def test_products_are_those_that_a_step_takes(covariance, products):
    options = lgs.Options(covariance=covariance, lanczos_steps=5, probes=7, jvp="finite-difference")
    assert options.products == products
    seen = []
    half = lambda x, sigma: torch.full_like(x, 0.5)  # noqa: E731
    x = torch.randn(2, 1, 8, 8)
    lgs.sample(lambda x, sigma: torch.tanh(x / 2), x, [1.0, 0.5], options, callback=seen.append, diagonal=half)
    assert seen[0]["jvps"] == products


def test_every_covariance_says_how_many_products_it_takes():
    """A choice that is added has to be in the list above."""
    covariance = next(entry for entry in library().options if entry["id"] == "covariance")
    assert set(covariance["products"]) < set(covariance["choices"]) and len(covariance["choices"]) == 7
    names = {entry["id"] for entry in library().options}
    assert set(covariance["products"].values()) <= names


def test_old_names_are_taken_but_not_beside_the_new():
    assert lgs.Options(lanczos_min_sigma=0.5, lanczos_max_sigma=9.0) == lgs.Options(
        covariance_min_sigma=0.5, covariance_max_sigma=9.0
    )
    with pytest.raises(lgs.InvalidArgument, match="covariance_min_sigma: expected one value, got two"):
        lgs.Options(lanczos_min_sigma=0.5, covariance_min_sigma=0.5)
