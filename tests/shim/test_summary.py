"""A record in words: the table, and what to do about it."""

import dataclasses

import pytest

import lgs
from lgs import summary

from .records import record_of, recorded, step


def test_the_table_has_a_line_for_each_step():
    text = summary.table(recorded({"lanczos_steps": 2, "jvp": "finite-difference"}))
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
    [sentence] = summary.advice(record_of(step(8, 0.5), step(4, 0.46), step(0.4, 0.03), step(0.1, 0.01)))
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
    [sentence] = summary.advice(record)
    assert "for 25 % of the time: set covariance from sigma to 1." in sentence
    assert [one.for_products for one in record.steps] == [1, 1, 1, 0]


def test_evaluations_that_take_longer_are_told_in_plain_ones():
    """In forward mode one gives a product too; the first step's time has the loading of the model in it."""
    steps = [step(8, 0.5), step(4, 0.4), step(2, 0.3), step(1, 0.0, ritz=(), evaluations=1)]
    steps = [dataclasses.replace(one, jvp="forward", model_evaluations=1, jvps=min(one.jvps, 1)) for one in steps]

    def heading(*seconds: float) -> str:
        timed = (dataclasses.replace(one, seconds=took) for one, took in zip(steps, seconds, strict=True))
        return summary.table(record_of(*timed)).splitlines()[0]

    assert heading(60.0, 0.5, 0.5, 0.1).startswith("4 steps, 4 model evaluations in the time of 16 plain ones, ")
    assert heading(60.0, 0.11, 0.11, 0.1).startswith("4 steps, 4 model evaluations, ")


def test_a_flow_s_threshold_is_in_the_setting_s_unit():
    """sigma / (1 - sigma)."""
    record = record_of(step(0.9, 0.5), step(0.8, 0.46), step(0.3, 0.03), step(0.1, 0.01))
    record.options = lgs.Options(process="flow")
    [sentence] = summary.advice(record)
    threshold = float(sentence.removesuffix(".").split()[-1])
    assert 0.3 / 0.7 < threshold <= 0.8 / 0.2


def test_the_node_s_defaults_need_no_advice():
    sigmas = [20.0, 8.0, 3.0, 1.2, 0.3, 0.03, 0.0]
    lanczos = lgs.Options.recommended(solver="ancestral", eta=0.5)
    for options in (lgs.Options.recommended(), lanczos, lgs.Options.recommended(solver="ancestral", lanczos_steps=2)):
        assert summary.advice(recorded(options, sigmas)) == []
    assert "as it would be without the free extra vector" in summary.table(recorded(lanczos, sigmas))
    assert "free extra vector" not in summary.table(recorded({"extended": False}))


def test_a_secant_has_ritz_values_and_no_lanczos_error():
    for eta in (0.0, 0.5):
        record = recorded({"solver": "secant", "eta": eta})
        text = summary.table(record)
        rows = [line.split() for line in text.splitlines()[3:7]]
        assert [row[2:4] for row in rows] == [["2", "0"], ["1", "0"], ["1", "0"], ["0", "0"]]
        assert all(0 <= float(row[4]) <= float(row[5]) <= 1 and row[6] == "-" for row in rows[:3])
        assert all((row[7] == "-") == (eta == 0) for row in rows[:3]), "a share of the noise, where there is any"
        assert rows[3][4:8] == ["-", "-", "-", "-"]
        assert "the secants'" in text and "Error" not in text and summary.advice(record) == []


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([step(8, 0.4), step(4, 0.3), step(2, 0.3)], "each adds its part"),
        ([step(8, 0.5), step(4, 0.5), step(2, 0.01, evaluations=2), step(1, 0.0, ritz=(), evaluations=30)], "cheap"),
        ([step(8, 0.0), step(4, 0.0)], "nothing to compare with"),
    ],
)
def test_there_is_not_always_something_to_say(steps, why):
    assert summary.advice(record_of(*steps)) == [], why


def test_the_threshold_parts_the_steps():
    for high, low in [(0.101, 0.1), (7.0, 6.9), (123.0, 45.0), (1e-3, 9.99e-4)]:
        [sentence] = summary.advice(record_of(step(2 * high, 0.5), step(high, 0.5), step(low, 0.001)))
        threshold = float(sentence.removesuffix(".").split()[-1])
        assert low < threshold <= high


def test_errors_are_named():
    [sentence] = summary.advice(record_of(step(8, 0.5, error=0.3), step(4, 0.5, error=0.01)))
    assert sentence.startswith("The noise of the step at sigma 8 is off by about 30 %") and "raise" in sentence
    record = record_of(step(8, 0.5, error=0.3), step(4, 0.5, error=0.01))
    record.options = lgs.Options()
    assert summary.advice(record) == [], "the free vector makes it a quarter or less"
    [sentence] = summary.advice(record_of(step(8, 0.5, error=1e-4), step(4, 0.5, error=2e-3)))
    assert "within an estimated 0.2 %" in sentence and "fewer lanczos steps" in sentence


def test_ritz_values_below_zero_are_named_and_rounding_is_not():
    [sentence] = summary.advice(record_of(step(8, 0.5, ritz=(-0.3, 0.5, 0.9)), step(4, 0.5)))
    assert "down to -0.3 (at sigma 8)" in sentence
    assert summary.advice(record_of(step(8, 0.5, ritz=(-0.004, 0.5, 0.9)), step(4, 0.5))) == []


def test_without_lanczos_it_says_so():
    assert summary.advice(recorded({"covariance": "isotropic"})) == ["No step used Lanczos."]
    [sentence] = summary.advice(recorded({"covariance_min_sigma": 6.0}))
    assert sentence == (
        "No step used Lanczos: the steps start at 5 to 0.7, outside the settings, 6 to 10000. To use it, lower "
        "covariance from sigma."
    )
    [sentence] = summary.advice(recorded({"covariance_max_sigma": 0.6}))
    assert "outside the settings, 0 to 0.6. To use it, raise covariance up to sigma." in sentence
    [sentence] = summary.advice(recorded({"covariance_min_sigma": 4.0, "covariance_max_sigma": 4.5}))
    assert "To use it, lower covariance from sigma or raise covariance up to sigma." in sentence
    [sentence] = summary.advice(recorded({"s_noise": 0.0}))
    assert sentence.endswith("no step added noise.")
