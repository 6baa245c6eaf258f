"""What is said of the node's defaults beside every sampler, and how it is measured."""

import math

import pytest

from evidence import rivals
from evidence.report import equal, page
from evidence.report.equal import BUDGETS, Cell, compared, excess_ratio, geometric_mean
from evidence.report.run import Run
from evidence.report.samplers import SECANT

EXACT = [1.0, 1.1, 0.9, 1.05, 0.95]


def about(value, spread=0.01):
    return [value + spread * step for step in (-2, -1, 0, 1, 2)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("equal")
    return page.plain(equal.measure(Run(folder, quick=True))), folder


def test_the_excess_is_over_exact_samples():
    assert excess_ratio(about(2.0), about(3.0), EXACT) == pytest.approx(0.5)
    assert excess_ratio(about(3.0), about(2.0), EXACT) == pytest.approx(2.0)


def test_within_chance_of_exact_samples_both_are_as_good():
    assert excess_ratio(about(1.02, 0.05), about(1.05, 0.05), EXACT) == 1.0
    assert excess_ratio(about(0.2), about(0.7), EXACT) == 1.0


def test_one_within_chance_is_ahead_by_no_more_than_chance_allows():
    chance = math.sqrt(sum((value - 1) ** 2 for value in EXACT) / 4 / 5)
    assert excess_ratio(about(0.5), about(2.0), EXACT) == pytest.approx(chance)
    assert excess_ratio(about(2.0), about(0.5), EXACT) == pytest.approx(1 / chance)


def numbers(cells):
    """As measured, of distances of LGS and rivals: {cell: (ours, {rival: theirs})}."""
    found = {
        "size": 400, "tried": [], "rows": [], "half": [], "missing": [{"what": "ER-SDE", "why": "no checkout"}],
        "sources": {"dpmpp_2m": "k-diffusion 1", "euler": "k-diffusion 1"}, "beds": {},
    }  # fmt: skip
    for bed in equal.BEDS:
        found["beds"][bed] = {"name": bed, "size": 400, "exact": dict.fromkeys(equal.MEASURES[bed], EXACT)}
    for cell, (ours, theirs) in cells.items():
        for id, groups in {SECANT.id: ours, **theirs}.items():
            of = {measure: groups for measure in equal.MEASURES[cell.bed]}
            found["rows"].append({"bed": cell.bed, "id": id, "budget": cell.budget, "groups": of})
    return found


def test_the_rival_of_a_cell_is_the_nearest_that_was_measured_again():
    cell = Cell("gaussian", "distance", 5)
    found = compared(numbers({cell: (about(2.0), {"euler": about(4.0), "dpmpp_2m": about(3.0)})}), cell)

    assert found.rival == "dpmpp_2m" and found.q == pytest.approx(0.5) and found.sign == 1


def test_the_mean_over_cells_is_geometric_and_its_error_that_of_the_groups():
    of = {
        Cell("gaussian", "distance", 5): (about(2.0), {"euler": about(3.0)}),
        Cell("mixture", "distance", 7): (about(3.0), {"euler": about(2.0, 0.02)}),
    }
    mean, error = geometric_mean(numbers(of))
    assert mean == pytest.approx(1.0) and 0 < error < 0.02

    [(cell, (ours, theirs)), _] = of.items()
    _, rough = geometric_mean(numbers({cell: (about(2.0, 0.1), theirs)}))
    _, fine = geometric_mean(numbers({cell: (ours, theirs)}))
    assert rough > 5 * fine


def test_the_page_says_how_many_cells_are_ahead_and_which_are_far_behind(tmp_path):
    of = {
        Cell("gaussian", "distance", 5): (about(2.0), {"euler": about(3.0)}),
        Cell("digits-law", "truth", 10): (about(3.0), {"dpmpp_2m": about(2.0, 0.02)}),
    }
    found = equal.show(numbers(of), tmp_path)

    assert (
        "has a geometric mean of 1.00" in found.sentences[0] and "over 2 cells (aimed at: 0.85)" in found.sentences[0]
    )
    assert "in 1 of them, level in 0, farther in 1" in found.sentences[0]
    assert found.sentences[1] == "Above 1.2: Digits-law at 10 (2.00)."
    assert "Missing: ER-SDE: no checkout." in found.sentences
    assert [row[-2:] for row in found.tables[0].rows] == [("0.50", "nearer"), ("2.00", "farther")]
    assert (tmp_path / "equal.png").read_bytes().startswith(b"\x89PNG")


def test_a_rival_that_breaks_down_is_not_the_nearest():
    row = lambda id, value: {"bed": "gaussian", "id": id, "budget": 5, "groups": {"distance": [value]}}  # noqa: E731
    tried = [row("euler", math.nan), row("heun", math.inf), row("deis", 3.0), row("ipndm", 2.0)]

    assert equal._chosen({"tried": tried}, "gaussian", 5) == ["ipndm", "deis"]


def test_every_rival_is_tried_and_the_nearest_are_measured_again_within_the_evaluations(measured):
    found, folder = measured
    tried = {row["id"] for row in found["tried"]}
    missing = {one["what"] for one in found["missing"]}
    assert {rivals.RIVALS[id].name for id in tried} | missing == {rival.name for rival in rivals.RIVALS.values()}

    again = [row["id"] for row in found["rows"]]
    assert again[0] == SECANT.id and len(again) == 1 + equal.FINALISTS and set(again[1:]) < tried
    rows = found["tried"] + found["rows"]
    assert all(BUDGETS[0] - 1 < row["evaluations"] <= BUDGETS[0] for row in rows)
    distance = {row["id"]: row["groups"]["distance"][0] for row in found["tried"]}
    assert max(distance[id] for id in again[1:]) <= min(distance[id] for id in tried - set(again))

    shown = equal.show(found, folder)
    assert "over 1 cells" in shown.sentences[0] and shown.tables[0].rows[0][0] == "A Gaussian"
