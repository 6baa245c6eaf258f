"""`.metrics` against closed forms and brute force. About 5 s."""

import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from evidence.models.distance import set_aside
from evidence.models.mnist import held_out_digits
from evidence.report.metrics import METRICS, PROJECTIONS, Reference, mean_and_error, neighbours, sign, sliced_distance


@pytest.fixture(scope="module")
def reference():
    return Reference("digits")


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kth_neighbour(points, k):
    return torch.cdist(points, points).sort(dim=1).values[:, k]


def test_recall_and_coverage_are_shares_of_real_points():
    real, made = draw(80, 4), 0.7 * draw(80, 4, seed=1) + 0.2
    apart = torch.cdist(real, made)
    recall = (apart < kth_neighbour(made, 5)[None, :]).any(dim=1).double().mean()
    coverage = (apart < kth_neighbour(real, 5)[:, None]).any(dim=1).double().mean()

    found = neighbours(real, made)

    assert 0.2 < recall < 0.9 and 0.2 < coverage < 0.98
    assert found == pytest.approx({"recall": recall.item(), "coverage": coverage.item()}, abs=1e-12)


def test_nothing_is_printed_nor_warned_of_whatever_the_filters(capsys):
    with warnings.catch_warnings():
        warnings.resetwarnings()
        neighbours(draw(20, 3), draw(20, 3, seed=1))

    assert capsys.readouterr() == ("", "")


def test_a_shift_has_the_sliced_distance_of_its_length():
    # Along a direction u the distance is |u.s|, whose mean square is |s|^2 / d.
    points, shift = draw(50, 20), 3 * torch.nn.functional.normalize(draw(20, seed=1), dim=0)

    found = sliced_distance(points, points + shift)

    assert found == pytest.approx(3 / 20**0.5, rel=3 / PROJECTIONS**0.5)
    assert sliced_distance(points, points[torch.randperm(50)]) < 1e-12


def test_the_sliced_distance_in_one_dimension_is_wassersteins():
    x, y = draw(400, 1), 2 * draw(300, 1, seed=1)
    quantiles = (np.arange(12000) + 0.5) / 12000
    sorted_x, sorted_y = (np.sort(v.numpy()[:, 0]) for v in (x, y))
    expected = np.mean((sorted_x[(quantiles * 400).astype(int)] - sorted_y[(quantiles * 300).astype(int)]) ** 2) ** 0.5

    assert sliced_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_real_digits_do_best_and_noise_does_badly(reference):
    images, labels = (t[:500] for t in reference.real)
    noise = torch.rand(500, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1

    real, far = reference.measure(images, labels), reference.measure(noise, labels)

    assert list(real) == list(far) == list(METRICS)
    assert real["frechet"] < 0.2 and far["frechet"] > 100 * real["frechet"]
    assert abs(real["kernel"]) < 0.01 < far["kernel"]
    assert real["recall"] > 0.8 and far["recall"] < 0.1
    assert real["coverage"] > 0.85 and far["coverage"] < 0.1
    assert 5 * real["sliced"] < far["sliced"]
    assert real["as_requested"] > 0.98 and far["as_requested"] < 0.3
    assert real["variety"] == pytest.approx(1, abs=0.1)


def test_one_digit_again_and_again_has_neither_recall_nor_coverage(reference):
    images, labels = reference.real
    same = images[labels == 3][:1].expand(500, -1, -1, -1) + 0.01 * draw(500, 1, 32, 32).float()

    found = reference.measure(same, labels[:500])

    assert found["recall"] < 0.1 and found["coverage"] < 0.1 and found["variety"] < 0.1


def test_what_lies_outside_black_and_white_is_not_seen(reference):
    images, labels = (t[:100] for t in reference.real)
    black_and_white = images.sign()

    assert reference.measure(3 * black_and_white, labels) == reference.measure(black_and_white, labels)


def test_halves_are_disjoint_and_have_the_same_number_of_each_digit(reference):
    images, labels = held_out_digits()
    halves = set_aside(images, labels, len(images) // 2)
    tuning = Reference("digits", tuning=True)

    assert all(half_labels.bincount().tolist() == [250] * 10 for _, half_labels in halves)
    assert len(torch.cat([half for half, _ in halves]).unique(dim=0)) == len(images)
    assert halves[0][0].equal(reference.real[0]) and halves[1][0].equal(reference.others[0])
    assert tuning.real[0].equal(reference.others[0]) and tuning.others[0].equal(reference.real[0])
    assert tuning.reference.equal(reference._features(reference.real[0]))


def test_the_error_is_that_of_the_mean():
    groups = [1.0, 2.5, 2.0, 4.0, 3.0]

    mean, error = mean_and_error(groups)

    assert mean == pytest.approx(np.mean(groups)) and error == pytest.approx(stats.sem(groups))
    assert mean_and_error([2.0]) == (2.0, None)


@pytest.mark.parametrize("groups", [2, 5])
def test_a_sign_is_wrong_by_chance_as_seldom_as_it_says(groups):
    draws = np.random.default_rng(0).standard_normal((4000, groups))

    signs = [sign(differences) for differences in draws.tolist()]

    assert 0.04 < np.mean(np.abs(signs)) < 0.06 and abs(np.mean(signs)) < 0.01
    assert all(
        (found != 0) == (stats.ttest_1samp(differences, 0).pvalue < 0.05)
        for found, differences in zip(signs[:200], draws, strict=False)
    )


def test_signs_of_what_is_certain_and_of_what_is_not():
    assert sign([1.0, 1.1, 0.9]) == 1 and sign([-1.0, -1.1, -0.9]) == -1 and sign([2.0, 2.0]) == 1
    assert sign([0.0, 0.0]) == 0 and sign([1.0, 1.5]) == 0 and sign([5.0]) == 0, "one group tells nothing"
