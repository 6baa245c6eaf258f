"""The beds for starts, and what is said of what was measured there."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from evidence.report import beds, started, starts
from lgs.starts import MixturePrior


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a law of digits of random numbers in the place of the fitted one."""
    folder = tmp_path_factory.mktemp("beds")
    # A seed that no noise has, or the noise would be the means again.
    generator = torch.Generator().manual_seed(987_654_321)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    MixturePrior(
        torch.tensor([0.5, 0.5]),
        0.3 * normal(2, 1, 32, 32) - 0.7,
        torch.linalg.qr(normal(2, 1024, 3)).Q.reshape(2, 1, 32, 32, 3),
        torch.tensor([[9.0, 4.0, 1.0], [16.0, 4.0, 1.0]]),
        torch.tensor([0.02, 0.01]),
    ).save(folder / "digits-law.safetensors")
    return str(folder)


def test_exact_samples_of_a_law_are_near_it_and_noise_is_not(folder):
    bed = beds.bed("digits-law", folder)
    labels = torch.zeros(300).long()

    exact = bed.distances(bed.pictures(None, 300, 1), labels)["truth"]
    noise = bed.distances(torch.randn(300, *bed.shape), labels)["truth"]

    assert 0 <= exact < 0.2 * noise
    x = bed.pictures(None, 4, 2)
    assert (bed.denoiser(labels[:4])(x, torch.full((4,), 0.01)) - x).abs().max() < 0.05


@pytest.mark.parametrize("solver", ["sample_dpmpp_2m", "sample_heun", "lgs"])
def test_a_start_makes_up_for_steps_on_a_law(folder, solver):
    given = {"bed": "digits-law", "folder": folder, "solver": solver, "budget": 5, "group": 0, "size": 200}
    given |= {"fingerprint": "", "version": ""}

    without = started.measured_group(start=None, **given)
    start = {"from": "pictures", "rank": 8, "count": 500}
    with_one = started.measured_group(start=start, **given)
    from_model = started.measured_group(start={"from": "model", "evaluations": 64}, **given)

    assert with_one["about"]["evaluations"] == without["about"]["evaluations"] <= 5
    assert with_one["truth"] < without["truth"] and from_model["truth"] < without["truth"]
    [level] = with_one["about"]["levels"]
    assert 0 < level < 20.0 and without["about"]["levels"] == [None]
    again = started.measured_group(start=start | {"level": 6.0}, **given)
    assert again["about"]["levels"] == [6.0]


def test_steps_fit_the_evaluations():
    assert {solver: started.steps_within(solver, 7) for solver in ("sample_dpmpp_2m", "sample_heun", "ipndm")} == {
        "sample_dpmpp_2m": 7,
        "sample_heun": 4,
        "ipndm": 7,
    }
    assert 2 <= started.steps_within("lgs", 7) <= 7


def test_the_page_says_what_a_start_brought(tmp_path):
    def row(start, values):
        return {
            "bed": "cifar", "solver": starts.TOLD, "budget": 5, "start": start, "evaluations": [5.0] * 3,
            "levels": [[None if start is None else 5.0]] * 3, "groups": {"truth": values, "converged": values},
        }  # fmt: skip

    measured = [(None, [10.0, 10.1, 9.9]), (starts.PICTURES, [7.0, 7.1, 6.9]), (starts.MODEL, [10.1, 10.0, 9.9])]
    numbers = {
        "size": 400, "law": 1000,
        "beds": {"cifar": {"name": "CIFAR-10"}},
        "rows": [*(row(*of) for of in measured)],
        "memorised": [{"start": {"count": 10}, "groups": {"memorised": [{"with": 0.75, "without": 0.5}]}}],
        "varied": [], "allowed": [], "seeds": [], "sources": {}, "missing": [{"what": "iPNDM", "why": "no checkout"}],
    }  # fmt: skip

    found = starts.show(numbers, tmp_path)

    assert "without, 7.000 ± 0.058 from pictures (nearer), 10.000 ± 0.058 from the model (level)" in found.sentences[0]
    assert found.sentences[-1] == "Missing: iPNDM: no checkout."
    assert [cells[3] for cells in found.tables[0].rows] == ["", "5", "5"]
    assert found.tables[1].rows == [("10", "0.75", "0.5")]


def test_the_page_says_from_how_many_pictures_on_a_start_pays():
    def row(budget, start, distance):
        return {
            "bed": "cifar", "solver": starts.TOLD, "budget": budget, "start": start,
            "groups": {"truth": [distance, distance]},
        }  # fmt: skip

    without = [row(budget, None, distance) for budget, distance in ((5, 16.0), (7, 9.0), (10, 4.0), (20, 1.0))]
    told = lambda reached, without=without: starts._paid(  # noqa: E731
        {"beds": {"cifar": {"name": "CIFAR-10"}}, "rows": [*without, row(5, starts.MODEL, reached)]}, "cifar"
    )

    # From 10 to 20 evaluations the distance falls as their square: 2 is reached at 10 sqrt(2).
    assert "are worth 14.1 without one" in told(2.0) and "after 8 pictures" in told(2.0)
    assert "are worth at least 20.0 without one" in told(0.5) and "after at most 5 pictures" in told(0.5)
    assert told(17.0) == ""
    # Of a run that is quick, or not finished.
    assert told(2.0, without[:1]) == told(2.0, []) == ""


def test_a_start_fitted_to_few_pictures_is_found_out(folder, monkeypatch):
    """One that has all of them, and no noise above them, gives them back."""
    exact = beds.bed("digits-law", folder)
    kinds = dataclasses.replace(exact, labelled=True, pictures=lambda kind, count, seed: _few(exact, kind, count))
    monkeypatch.setattr(beds, "bed", lambda *_: kinds)
    given = {"bed": "", "folder": folder, "budget": 1, "group": 0, "size": 40, "fingerprint": "", "version": ""}
    start = {"from": "pictures", "rank": 1, "count": 2, "level": 0.05}

    shares = started.memorised(start=start, **given)

    assert shares["with"] > 0.95 and 0.2 < shares["without"] < 0.8


def _few(bed, kind, count):
    """``count`` of four pictures of a kind, the first two of them near one another."""
    items = bed.pictures(None, 4, 100 + kind)
    items[1] = items[0] + 0.01
    return items[:count]
