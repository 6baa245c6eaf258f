"""A record as a picture; and records that are odd, as a picture and in words."""

import math

import pytest

import lgs
from lgs import plot, summary

from .records import record_of, recorded, step


def test_the_picture_shows_bars_lines_and_bands():
    picture = plot.picture(recorded({"lanczos_steps": 2}))
    assert picture.size == (plot.WIDTH, plot.HEIGHT) and picture.mode == "RGB"
    counts = {colour: count for count, colour in picture.getcolors(1 << 20)}
    for colour in (plot.BLUE, plot.ORANGE, plot.GREEN, plot.PURPLE):
        rgb = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert counts.get(rgb, 0) > 200, colour
    # The border is empty: nothing is cut off.
    for edge in ((0, 0, 1200, 3), (0, 957, 1200, 960), (0, 0, 3, 960), (1197, 0, 1200, 960)):
        assert picture.crop(edge).getcolors() == [
            (picture.crop(edge).width * picture.crop(edge).height, (255, 255, 255))
        ]


def test_a_heading_stands_above_all():
    record = recorded({"lanczos_steps": 1})
    plain, headed = plot.picture(record), plot.picture(record, "Of another run, seed 7")
    assert headed.size == plain.size
    orange = tuple(int(plot.ORANGE[i : i + 2], 16) for i in (1, 3, 5))
    assert headed.getpixel((3, 3)) == headed.getpixel((plot.WIDTH - 3, plot.HEADING - 3)) == orange
    assert plain.getpixel((3, 3)) == headed.getpixel((3, plot.HEADING + 3)) == (255, 255, 255)


def test_what_a_run_did_not_have_is_not_drawn():
    titles = lambda **options: [panel.title for panel in plot.panels_of(recorded(options))]  # noqa: E731
    secant, lanczos = titles(solver="secant"), titles(lanczos_steps=1)
    assert "Ritz values of the Jacobian" in secant and len(lanczos) == 6
    assert set(lanczos) - set(secant) == {lanczos[3], "what the covariance adds"} and "Lanczos" in lanczos[3]
    assert "what the covariance adds" in titles(solver="secant", eta=0.5)


def test_taller_bars_for_more_evaluations():
    """Step 1 has twice the evaluations of step 2: so many more pixels, in the colours of the two parts."""
    panel = next(
        panel for panel in plot.panels_of(record_of(step(8, 0.5, evaluations=8), step(4, 0.5))) if "eval" in panel.title
    )
    mean, products = panel.marks
    assert (mean.points, products.points) == ([(1, 1), (2, 1)], [(1, 7), (2, 3)])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 6, [0, 2, 4, 6]),
        (-0.02, 2.5, [0, 0.5 * 2, 2, 3]),
        (-1.1, 0.9, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    assert plot.linear_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(("high", "ticks"), [(1, [0, 1]), (2, [0, 1, 2]), (4, [0, 1, 2, 3, 4]), (6, [0, 2, 4, 6])])
def test_ticks_of_counts_are_whole(high, ticks):
    assert plot.linear_ticks(0, high, whole=True) == ticks


def test_ticks_of_powers():
    assert plot.power_ticks(0.01, 100) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert plot.power_ticks(1, 10) == pytest.approx([1, 2, 5, 10])
    assert len(plot.power_ticks(1e-30, 1e30)) < 12


@pytest.mark.parametrize(
    "record",
    [
        record_of(step(20, math.nan, error=math.nan, ritz=(), evaluations=1)),
        record_of(*[step(1 / (1 + i), 0.5) for i in range(1000)]),
        record_of(step(1e-6, 1.0, error=1e-12), step(1e-9, 1.0, error=1e3, ritz=(-1e6, 1e6))),
        record_of(step(1.0, 0.0, error=0.0, ritz=(0.0,)), step(1.0, 0.0, error=0.0, ritz=(0.0,))),
        record_of(step(3.0, 0.5, error=math.inf), step(2.0, 0.5)),
    ],
    ids=["one step", "a thousand", "far apart", "all zero", "infinite"],
)
def test_any_record_can_be_shown(record):
    assert plot.picture(record).size == (plot.WIDTH, plot.HEIGHT)
    assert len(summary.table(record).splitlines()) >= len(record.steps) + 5


def test_a_record_without_steps_is_refused():
    for show in (summary.table, plot.picture):
        with pytest.raises(lgs.InvalidArgument, match="expected the record of a run"):
            show(lgs.Record())
