"""A normalising flow as a start: a density, a map between levels, and better than a Gaussian where data are none."""

from __future__ import annotations

import builtins
import math

import pytest
import torch
from torch import Tensor

import lgs
from lgs.starts import FlowPrior
from lgs.starts.flow import Architecture

SHAPE = (2, 3)
D = 6


def two_heaps(n: int, seed: int = 0) -> Tensor:
    """(n, 2, 3): two clusters along one direction, and little beside it."""
    generator = torch.Generator().manual_seed(seed)
    items = 0.3 * torch.randn(n, D, generator=generator)
    items[:, 0] += 4 * (2 * (torch.rand(n, generator=generator) < 0.7).float() - 1)
    return items.reshape(n, *SHAPE)


@pytest.fixture(scope="module")
def fitted() -> FlowPrior:
    return FlowPrior.fit(two_heaps(2000), 2, levels=(0.5, 20.0), steps=1500)


def test_its_density_is_one():
    """Of a flow with random weights, in one dimension, by the sum over a fine grid."""
    torch.manual_seed(3)
    architecture = Architecture(1, 0, (0.5, 20.0))
    gaussian = lgs.GaussianPrior(torch.tensor([0.5]), torch.ones(1, 1), torch.tensor([2.0]), 0.3)
    prior = FlowPrior(gaussian, architecture, architecture.build())
    for process, sigma in [("ve", 1.0), ("flow", 0.6), ("ve", 40.0), ("flow", 1.0)]:
        reach = 10 * (2 + sigma)
        grid = torch.linspace(-reach, reach, 20001, dtype=torch.float64)[:, None]
        total = prior.log_likelihood(grid, sigma, process).exp().sum() * reach / 10000
        assert total.item() == pytest.approx(1, abs=1e-4)


def test_it_is_nearer_to_data_that_are_no_gaussian(fitted):
    gaussian = lgs.GaussianPrior.fit(two_heaps(2000), 2)
    others = two_heaps(2000, seed=1)
    for sigma, least in ((0.7, 0.5), (2.0, 0.1)):
        noisy = others + sigma * torch.randn(others.shape, generator=torch.Generator().manual_seed(2))
        gain = fitted.log_likelihood(noisy, sigma).mean() - gaussian.log_likelihood(noisy, sigma).mean()
        assert gain > least
    moved = fitted.teleport(40 * torch.randn(2000, *SHAPE, generator=torch.Generator().manual_seed(4)), 40.0, 0.5)
    share = (moved.flatten(1)[:, 0] > 0).float().mean().item()
    assert share == pytest.approx(0.7, abs=0.05)
    # Two heaps with next to nothing between them: a Gaussian's would be full there.
    assert (moved.flatten(1)[:, 0].abs() < 1.5).float().mean() < 0.05


def test_the_way_down_in_two_parts_is_the_way_down(fitted):
    x = 40 * torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(5))

    at_once = fitted.teleport(x, 40.0, 0.8)
    in_parts = fitted.teleport(fitted.teleport(x, 40.0, 5.0), 5.0, 0.8)

    torch.testing.assert_close(in_parts, at_once, rtol=1e-3, atol=1e-3)
    for item in range(4):
        assert fitted.teleport(x[item : item + 1], 40.0, 0.8).equal(at_once[item : item + 1])
    flow = fitted.teleport(x / 40, 1.0, 0.6, "flow")
    assert flow.shape == x.shape and flow.isfinite().all()


def test_a_context_decides():
    n = 3000
    items = two_heaps(n)
    context = torch.nn.functional.one_hot((items.flatten(1)[:, 0] > 0).long(), 2).float()

    prior = FlowPrior.fit(items, 1, levels=(0.5, 20.0), context=context, steps=500)

    x = 40 * torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(6))
    for number, sign in ((0, -1), (1, 1)):
        moved = prior.with_context(torch.eye(2)[number]).teleport(x, 40.0, 0.5)
        assert (sign * moved.flatten(1)[:, 0] > 0).float().mean() > 0.95
    each = prior.with_context(torch.eye(2)[torch.arange(200) % 2]).teleport(x, 40.0, 0.5)
    assert (each.flatten(1)[1::2, 0] > 0).float().mean() > 0.95
    with pytest.raises(lgs.InvalidArgument, match="expected with_context first"):
        prior.teleport(x, 40.0, 0.5)
    with pytest.raises(lgs.InvalidArgument, match="a row for each of 200 items, got 3"):
        prior.with_context(torch.eye(2)[torch.zeros(3).long()]).log_likelihood(x, 1.0)
    with pytest.raises(lgs.InvalidArgument, match=r"expected \(2,\) or"):
        prior.with_context(torch.zeros(3))


def test_it_comes_back_from_its_file(fitted, tmp_path):
    fitted.save(tmp_path / "a.safetensors")

    back = lgs.starts.load(tmp_path / "a.safetensors")

    x = 40 * torch.randn(3, *SHAPE)
    assert isinstance(back, FlowPrior) and back.about == fitted.about
    assert back.teleport(x, 40.0, 0.7).equal(fitted.teleport(x, 40.0, 0.7))
    assert float(back.about["held_out"]) > -3


def test_a_fit_that_is_stopped_goes_on_to_the_same_flow(tmp_path):
    class Stopped(BaseException):
        pass

    def stop(step: int, held_out: float) -> None:
        assert math.isfinite(held_out)
        if step >= 100:
            raise Stopped

    items, file = two_heaps(400), tmp_path / "unfinished.safetensors"
    whole = FlowPrior.fit(items, 2, levels=(0.5, 20.0), steps=200)
    with pytest.raises(Stopped):
        FlowPrior.fit(items, 2, levels=(0.5, 20.0), steps=200, progress=stop, resume=file)
    seen = []
    resumed = FlowPrior.fit(
        items, 2, levels=(0.5, 20.0), steps=200, resume=file, progress=lambda step, held_out: seen.append(step)
    )

    assert seen == [150, 200] and not list(tmp_path.iterdir())
    for one, other in zip(resumed.flow.parameters(), whole.flow.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_it_ends_early_where_pictures_held_out_are_no_likelier():
    seen = []
    FlowPrior.fit(two_heaps(30), 1, levels=(0.5, 20.0), steps=100000, progress=lambda step, _: seen.append(step))

    assert seen[-1] < 3000


@pytest.mark.parametrize(
    ("images", "changed", "words"),
    [
        (two_heaps(19), {}, "of 20 or more, got 2 for 19"),
        (two_heaps(30), {"rank": 0}, "got 0 for 30"),
        (two_heaps(30), {"levels": (2.0, 1.0)}, "levels: expected 0 < lowest < highest"),
        (two_heaps(30), {"levels": (0.0, 1.0)}, "levels: expected"),
        (two_heaps(30), {"context": torch.zeros(29, 2)}, r"context: expected shape \(30, c\)"),
        (iter([two_heaps(30)]), {}, "several times"),
        (two_heaps(30) * torch.nan, {}, "images: expected finite"),
    ],
)
def test_what_no_flow_can_be_fitted_to(images, changed, words):
    with pytest.raises(lgs.Error, match=words):
        FlowPrior.fit(images, **{"rank": 2, "levels": (0.5, 20.0), "steps": 1} | changed)


def test_a_level_below_those_it_was_fitted_to_is_refused(fitted):
    with pytest.raises(lgs.InvalidArgument, match=r"0.5 or more, which it was fitted to, got 0.4"):
        fitted.teleport(40 * torch.randn(1, *SHAPE), 40.0, 0.4)


def test_without_zuko_it_says_what_to_install(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path / "a.safetensors")
    real = builtins.__import__

    def without(name, *arguments, **named):
        if name.startswith("zuko"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(lgs.EngineError, match="pip install zuko"):
        lgs.starts.load(tmp_path / "a.safetensors")
