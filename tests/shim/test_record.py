"""A run's record: what it keeps, the table, the advice and the picture."""

import dataclasses
import math

import pytest
import torch

import lgs
from lgs import plot, report
from lgs.record import Step

from .gaussian import Gaussian

SIGMAS = [5.0, 2.0, 0.7, 0.2, 0.0]


def recorded(options: dict | lgs.Options, sigmas: list[float] = SIGMAS, batch: int = 2) -> lgs.Record:
    record = lgs.Record({"seed": 7})
    lgs.sample(Gaussian(16, 1.6).denoiser(), torch.randn(batch, 16), sigmas, options, callback=record)
    return record


def step(sigma: float, added: float, *, evaluations: int = 4, error: float = 0.01, ritz=(0.1, 0.5, 0.9)) -> Step:
    """One whose noise has variance 1, and this much of it from the covariance."""
    values = torch.tensor([ritz], dtype=torch.float64)
    return Step(sigma, sigma / 2, evaluations, len(ritz), "auto", values, error, added, 1.0, 0.5)


def record_of(*steps: Step) -> lgs.Record:
    record = lgs.Record()
    record.steps = list(steps)
    record._evaluations = sum(step.model_evaluations for step in steps)
    return record


def test_it_keeps_each_step_by_itself():
    record = recorded({"lanczos_steps": 2, "jvp": "finite-difference", "covariance_min_sigma": 1.0})
    assert [step.model_evaluations for step in record.steps] == [3, 3, 1, 1]
    assert [step.jvps for step in record.steps] == [2, 2, 0, 0]
    assert record.model_evaluations == 8 and record.batch == 2
    assert [step.sigma for step in record.steps] == pytest.approx(SIGMAS[:-1])
    assert [tuple(step.ritz_values.shape) for step in record.steps] == [(2, 2), (2, 2), (2, 0), (2, 0)]
    assert all(step.seconds >= 0 for step in record.steps) and record.seconds > 0
    assert record.steps[0].added_variance > 0 == record.steps[2].added_variance == record.steps[3].added_variance


def test_what_the_covariance_adds_is_of_the_trace():
    """The mean over many items of c zᵀ J z / d is c tr J / d."""
    gaussian = Gaussian(16, 1.6)
    record = lgs.Record()
    x = torch.randn(4000, 16, dtype=torch.float64)
    lgs.sample(gaussian.denoiser(), x, [0.5, 0.2], {"lanczos_steps": 1}, callback=record)
    with_it = gaussian.reverse_variance("ve", 0.5, 0.2, 1.0).mean().item()
    v = (0.25 - 0.04) * 0.04 / 0.25
    assert record.steps[0].added_variance == pytest.approx(with_it - v, rel=0.05)
    assert record.steps[0].noise_variance == pytest.approx(with_it, rel=0.05)


def test_the_table_has_a_line_for_each_step():
    text = report.table(recorded({"lanczos_steps": 2, "jvp": "finite-difference"}))
    lines = text.splitlines()
    assert lines[0].startswith("4 steps, 10 model evaluations, ") and lines[0].endswith(", batch of 2, seed 7")
    rows = [line.split() for line in lines[3:7]]
    assert [row[:4] for row in rows] == [
        ["1", "5", "3", "2"],
        ["2", "2", "3", "2"],
        ["3", "0.7", "3", "2"],
        ["4", "0.2", "1", "0"],
    ]
    assert rows[3][4:8] == ["-", "-", "-", "-"], "the last step adds no noise"
    assert max(map(len, lines[2:7])) == len(lines[2]), "columns under their names"


def test_steps_that_cost_much_and_add_little_are_named():
    [sentence] = report.advice(record_of(step(8, 0.5), step(4, 0.46), step(0.4, 0.03), step(0.1, 0.01)))
    assert sentence == (
        "The steps from sigma 0.4 down added 4 % of the variance that the covariance added in all, for 38 % of the "
        "evaluations: set covariance from sigma to 1."
    )


def test_in_forward_mode_it_is_time_that_counts():
    """Where D(x) comes with the first product, and one evaluation takes longer than another."""
    steps = [step(8, 0.5), step(4, 0.46), step(0.4, 0.03), step(0.1, 0.0, ritz=(), evaluations=1)]
    steps = [dataclasses.replace(one, jvp="forward", model_evaluations=1, jvps=min(one.jvps, 1)) for one in steps]
    seconds = [0.5, 0.5, 0.5, 0.1]
    record = record_of(*(dataclasses.replace(one, seconds=took) for one, took in zip(steps, seconds, strict=True)))
    [sentence] = report.advice(record)
    assert "for 25 % of the time: set covariance from sigma to 1." in sentence
    assert [one.for_products for one in record.steps] == [1, 1, 1, 0]


def test_a_flow_s_threshold_is_in_the_setting_s_unit():
    """sigma / (1 - sigma)."""
    record = record_of(step(0.9, 0.5), step(0.8, 0.46), step(0.3, 0.03), step(0.1, 0.01))
    record.options = lgs.Options(process="flow")
    [sentence] = report.advice(record)
    threshold = float(sentence.removesuffix(".").split()[-1])
    assert 0.3 / 0.7 < threshold <= 0.8 / 0.2


def test_the_settings_that_the_node_starts_with_need_no_advice():
    sigmas = [20.0, 8.0, 3.0, 1.2, 0.3, 0.03, 0.0]
    for options in (lgs.Options.recommended(), lgs.Options.recommended(lanczos_steps=2)):
        assert report.advice(recorded(options, sigmas)) == []
    text = report.table(recorded(lgs.Options.recommended(), sigmas))
    assert "as it would be without the free extra vector" in text
    assert "free extra vector" not in report.table(recorded({"extended": False}))


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([step(8, 0.4), step(4, 0.3), step(2, 0.3)], "each adds its part"),
        ([step(8, 0.5), step(4, 0.5), step(2, 0.01, evaluations=2), step(1, 0.0, ritz=(), evaluations=30)], "cheap"),
        ([step(8, 0.0), step(4, 0.0)], "nothing to compare with"),
    ],
)
def test_there_is_not_always_something_to_say(steps, why):
    assert report.advice(record_of(*steps)) == [], why


def test_the_threshold_parts_the_steps():
    for high, low in [(0.101, 0.1), (7.0, 6.9), (123.0, 45.0), (1e-3, 9.99e-4)]:
        [sentence] = report.advice(record_of(step(2 * high, 0.5), step(high, 0.5), step(low, 0.001)))
        threshold = float(sentence.removesuffix(".").split()[-1])
        assert low < threshold <= high


def test_errors_are_named():
    [sentence] = report.advice(record_of(step(8, 0.5, error=0.3), step(4, 0.5, error=0.01)))
    assert sentence.startswith("The noise of the step at sigma 8 is off by about 30 %") and "raise" in sentence
    record = record_of(step(8, 0.5, error=0.3), step(4, 0.5, error=0.01))
    record.options = lgs.Options()
    assert report.advice(record) == [], "the free vector makes it a quarter or less"
    [sentence] = report.advice(record_of(step(8, 0.5, error=1e-4), step(4, 0.5, error=2e-3)))
    assert "within an estimated 0.2 %" in sentence and "fewer lanczos steps" in sentence


def test_ritz_values_below_zero_are_named_and_rounding_is_not():
    [sentence] = report.advice(record_of(step(8, 0.5, ritz=(-0.3, 0.5, 0.9)), step(4, 0.5)))
    assert "down to -0.3 (at sigma 8)" in sentence
    assert report.advice(record_of(step(8, 0.5, ritz=(-0.004, 0.5, 0.9)), step(4, 0.5))) == []


def test_without_lanczos_it_says_so():
    assert report.advice(recorded({"covariance": "isotropic"})) == ["No step took the covariance by Lanczos steps."]
    [sentence] = report.advice(recorded({"covariance_min_sigma": 6.0}))
    assert sentence == (
        "No step took the covariance by Lanczos steps: they start at 5 to 0.7, and the setting is from 6 up to 10000. "
        "Set covariance from sigma lower, if they are to."
    )
    [sentence] = report.advice(recorded({"covariance_max_sigma": 0.6}))
    assert "the setting is from 0 up to 0.6. Set covariance up to sigma higher, if" in sentence
    [sentence] = report.advice(recorded({"covariance_min_sigma": 4.0, "covariance_max_sigma": 4.5}))
    assert "Set covariance from sigma lower or covariance up to sigma higher, if" in sentence
    [sentence] = report.advice(recorded({"s_noise": 0.0}))
    assert sentence.endswith("no step added noise.")


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


def test_taller_bars_for_more_evaluations():
    """Step 1 has twice the evaluations of step 2: so many more pixels, in the colours of the two parts."""
    panel = next(
        panel for panel in plot.panels_of(record_of(step(8, 0.5, evaluations=8), step(4, 0.5))) if "eval" in panel.title
    )
    mean, products = panel.marks
    assert (mean.points, products.points) == ([(1, 1), (2, 1)], [(1, 7), (2, 3)])


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
    assert len(report.table(record).splitlines()) >= len(record.steps) + 5


def test_a_record_without_steps_is_refused():
    for show in (report.table, plot.picture):
        with pytest.raises(lgs.InvalidArgument, match="expected the record of a run"):
            show(lgs.Record())


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
