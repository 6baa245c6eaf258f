"""How far a start is from the model: against closed forms in float64, and what is made of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import lgs
from lgs.starts import Divergence, MixturePrior, divergence
from lgs.starts.levels import ITEMS, LEVELS, shared

D = 12


def gaussian(scale: float = 1.0, shift: float = 0.0, seed: int = 0) -> lgs.GaussianPrior:
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(D, 3, generator=generator)).Q
    mean = torch.randn(D, generator=generator) + shift
    return lgs.GaussianPrior(mean, basis, scale * torch.tensor([4.0, 2.0, 1.0]), 0.1 * scale)


def law(prior: lgs.GaussianPrior, s: float) -> torch.distributions.MultivariateNormal:
    basis = prior.basis.double()
    covariance = (basis * (prior.variances.double() - prior.rest)) @ basis.T
    noise = (prior.rest + s**2) * torch.eye(D, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(prior.mean.double(), covariance + noise)


def answers(prior: lgs.GaussianPrior, process: str):
    return lambda x, sigma: prior.denoised(x, float(sigma[0]), process)


@pytest.mark.parametrize(("process", "sigma"), [("ve", 30.0), ("flow", 0.97)])
def test_it_is_the_kl_of_two_gaussians(process, sigma):
    model, start = gaussian(), gaussian(scale=1.5, shift=0.3)

    found = divergence(
        start, answers(model, process), sigma, items=400, process=process, generator=torch.Generator().manual_seed(1)
    )

    for level in (8.0, 4.0, 2.0):
        # Points are the start's own, whose law is near the model's where this is small.
        exact = torch.distributions.kl_divergence(law(model, level), law(start, level)).item()
        assert found.at(level) == pytest.approx(exact, rel=0.3)
    assert found.nats[-1] > 1 and list(found.nats) == sorted(found.nats)


def test_the_model_s_own_law_costs_nothing_and_is_taken_to_the_last_level():
    prior = gaussian()

    found = divergence(prior, answers(prior, "ve"), 30.0, levels=8)

    assert max(found.nats) < 1e-9 and len(found.levels) == 8
    assert found.level(5) == pytest.approx(found.levels[-1], rel=1e-6)


def test_it_stops_to_ask_where_the_start_is_of_no_more_use():
    asked = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        asked.append((len(x), float(sigma[0])))
        return gaussian(shift=3.0).denoised(x, float(sigma[0]))

    seen = []
    found = divergence(gaussian(), denoise, 40.0, items=3, progress=seen.append)

    assert found.nats[-1] > 4 >= found.nats[-2]
    assert asked == [(3, pytest.approx(level)) for level in found.levels]
    assert seen == [3 * (number + 1) for number in range(len(asked))]


def test_the_level_rises_with_the_evaluations_and_none_is_left_where_it_would_hurt():
    found = Divergence((80.0, 40.0, 20.0, 10.0, 5.0, 2.5), (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0))

    assert found.at(20.0) == pytest.approx(0.01) and found.at(160.0) == pytest.approx(0.0001 / 16)
    assert found.at(math.sqrt(50.0)) == pytest.approx(math.sqrt(0.1))
    assert found.at(2.0) == math.inf
    levels = [found.level(evaluations) for evaluations in (2, 5, 10, 20, 50)]
    assert levels[0] == levels[1] and levels == sorted(levels)
    assert [found.at(level) for level in levels[1:]] == pytest.approx([0.3, 0.3 / 16, 0.3 / 256, 0.001], rel=0.1)
    assert Divergence((40.0, 20.0), (5.0, 9.0)).level(5) is None
    assert Divergence.from_text(found.as_text()) == found


def test_a_start_from_the_model_takes_no_more_evaluations_than_it_may():
    for evaluations in (10, 16, 20, 64, 500):
        fitted, compared = shared(evaluations)
        assert fitted >= 2 and 2 <= compared <= LEVELS and fitted + compared * ITEMS == evaluations
    assert shared(64) == (36, 7)


def test_a_start_keeps_it_with_its_file(tmp_path):
    prior = gaussian()
    prior.about["divergence"] = Divergence((40.0, 20.0, 5.0), (0.01, 0.05, 0.3)).as_text()
    prior.save(tmp_path / "a.safetensors")

    assert lgs.starts.load(tmp_path / "a.safetensors").level(5) == pytest.approx(5.0, rel=0.02)
    with pytest.raises(lgs.InvalidArgument, match="fitted without the model"):
        gaussian().level(5)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "3", '{"levels": [1, 2], "nats": [0, 1]}', '{"levels": [2, 1], "nats": [1, 0]}',
     '{"levels": ["nan", 1], "nats": [0, 1]}', '{"levels": [2, 1], "nats": [0]}', '{"levels": [], "nats": []}'],
)  # fmt: skip
def test_texts_that_are_no_divergence(text):
    prior = gaussian()
    prior.about["divergence"] = text

    with pytest.raises(lgs.InvalidArgument, match="start: .* as its divergence; fit it again"):
        prior.level(5)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sigma": -1.0}, "sigma: expected"),
        ({"sigma": 1.0, "process": "flow"}, "below 1"),
        ({"items": 0}, "got 0, 12"),
        ({"denoise": lambda x, sigma: x * torch.nan}, "denoise: expected a finite"),
        ({"denoise": lambda x, sigma: x[:1]}, "denoise: expected a finite"),
    ],
)
def test_what_cannot_be_measured(changed, words):
    prior = gaussian()
    arguments = {"denoise": answers(prior, "ve"), "sigma": 30.0} | changed

    with pytest.raises(lgs.Error, match=words):
        divergence(prior, **arguments)


def test_a_family_without_a_closed_form_takes_tweedies_formula():
    prior = gaussian()
    x = prior.mean + 2 * torch.randn(5, D, generator=torch.Generator().manual_seed(2))

    class Other(MixturePrior):
        _posterior_mean = lgs.starts.Start._posterior_mean

    mixture = Other(torch.ones(1), prior.mean[None], prior.basis[None], prior.variances[None], torch.tensor([0.1]))
    with torch.inference_mode():
        torch.testing.assert_close(mixture.denoised(x, 2.0), prior.denoised(x, 2.0), rtol=1e-3, atol=1e-4)


def test_points_of_one_level_are_not_those_of_another():
    """Or what few points are off by chance adds up over all levels: the level would be a matter of the seed."""
    asked = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        asked.append((x - gaussian().mean) / sigma[:, None])
        return gaussian().denoised(x, float(sigma[0]))

    divergence(gaussian(), denoise, 400.0, items=3, levels=3, generator=torch.Generator().manual_seed(1))

    for earlier, later in zip(asked, asked[1:], strict=False):
        assert (earlier - later).norm() > 0.5 * earlier.norm()
