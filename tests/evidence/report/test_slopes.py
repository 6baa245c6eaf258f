"""Slopes and crossings of power laws that are known. Takes two seconds."""

import math

import numpy as np
import pytest

from evidence.report.slopes import fitted_slope, local_slopes, mean_and_error, steps_needed

STEPS = (16, 32, 64, 128, 256)


def paths(power, spread, count=400, seed=0):
    """KLs of paths, (steps, count), that fall like T^power on average; the noise is the paths' own."""
    drawn = np.random.default_rng(seed).gamma(1 / spread**2, spread**2, (len(STEPS), count))
    return 3.0 * np.array(STEPS, float)[:, None] ** power * drawn


@pytest.mark.parametrize("power", [-1.0, -2.0])
def test_a_power_law_has_its_slope(power):
    found = fitted_slope(STEPS, paths(power, 1e-6))
    assert found["value"] == pytest.approx(power, abs=1e-6)
    assert found["stderr"] < 1e-6


def test_the_standard_error_is_that_of_repetitions():
    found = [fitted_slope(STEPS, paths(-1.0, 1.0, seed=seed), resamples=200) for seed in range(60)]
    values = np.array([one["value"] for one in found])
    told = math.sqrt(np.mean([one["sampling"] ** 2 for one in found]))
    assert told == pytest.approx(values.std(ddof=1), rel=0.3)
    assert abs(values.mean() + 1) < 4 * values.std(ddof=1) / math.sqrt(len(values))


def test_parts_add_up_and_have_their_own_errors():
    """A sure part with the slope, and another that is all the chance there is."""
    sure, chance = paths(-1.0, 1e-6), paths(-1.0, 1.0, count=50, seed=1)

    found = fitted_slope(STEPS, sure, chance)

    alone, together = fitted_slope(STEPS, chance), fitted_slope(STEPS, sure[:, :50] + chance)
    assert found["value"] == pytest.approx(together["value"], abs=1e-6)
    assert found["sampling"] == pytest.approx(alone["sampling"] / 2, rel=0.3)


def test_curvature_counts_as_an_error():
    bent = paths(-1.0, 1e-6) * np.exp(0.1 * np.log(np.array(STEPS) / 64) ** 2)[:, None]
    found = fitted_slope(STEPS, bent)
    assert found["fit"] > 0.02 and found["sampling"] < 1e-6
    assert found["stderr"] == pytest.approx(math.hypot(found["fit"], found["sampling"]))


def test_local_slopes():
    assert local_slopes((2, 4, 16), [8.0, 4.0, 1.0]) == pytest.approx([-1, -1])


@pytest.mark.parametrize(
    ("target", "steps", "extrapolated"),
    [(0.5, 2, False), (1 / 3, 3, False), (0.1, 10, False), (0.01, 100, True), (2, 0.5, True), (1 / 16, 16, False)],
)
def test_the_steps_to_a_target(target, steps, extrapolated):
    found = steps_needed((1, 2, 4, 8, 16), [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16], target)
    assert found["steps"] == pytest.approx(steps)
    assert found["extrapolated"] == extrapolated


def test_beyond_the_end_the_last_slope_goes_on():
    found = steps_needed((1, 2, 4), [1, 1 / 2, 1 / 8], 1 / 32)
    assert found == {"steps": pytest.approx(8), "extrapolated": True}


def test_mean_and_error():
    assert mean_and_error(np.array([1.0, 2.0, 3.0])) == pytest.approx({"value": 2, "stderr": 1 / math.sqrt(3)})
    both = mean_and_error(np.array([1.0, 2.0, 3.0]), np.array([5.0, 5.0]))
    assert both == pytest.approx({"value": 7, "stderr": 1 / math.sqrt(3)})
