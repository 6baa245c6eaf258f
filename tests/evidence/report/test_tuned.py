"""`.tuned`: what fits a budget, what is tried once, what is chosen, and what is said of it. About 15 s."""

import math

import pytest
from PIL import Image

from evidence.report import tuned
from evidence.report.run import Run
from evidence.report.samplers import RIVAL, evaluations, present
from evidence.report.trained import MODELS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers", "ignore::DeprecationWarning:comfy")
RIVALS, _ = present(tuned.RIVALS)
"""Those that are on this machine."""
PLAN = tuned.Plan(("digits",), (10, 20), (0.0, 1.0), ((40, (1.0,), 3), (80, (1.0, 1.05, 1.1), 1)), groups=2, size=20)


@pytest.fixture
def calls(monkeypatch):
    """What is asked of `measured_group`, which here knows what is best: K = 1, eta = 1, above sigma = 1, more noise."""
    asked = []

    def measured_group(data, solver, options, steps, group, size, fingerprint, tuning=False):
        asked.append((group, steps, size, tuning))
        loss = 1.0 - 0.2 * options.get("eta", 0) + 0.1 * options.get("lanczos_steps", 0)
        loss += 0.1 * abs(math.log(options.get("covariance_min_sigma", 1.0) + 0.01))
        loss += 0.05 * (options.get("covariance_max_sigma", 20.0) < 20.0) + 0.001 * (group % 10)
        loss += 0.01 * (options.get("other_steps") == "multistep") + 0.1 * abs(options.get("s_noise", 1.0) - 1.05)
        taken = evaluations(solver, options, MODELS[data].sigmas(steps))
        return {"evaluations": taken, "metrics": dict.fromkeys(tuned.METRICS, loss)}

    monkeypatch.setattr(tuned, "measured_group", measured_group)
    monkeypatch.setattr(Run, "cached", lambda _run, function: function)
    monkeypatch.setattr(tuned, "FULL_PLAN", PLAN)
    monkeypatch.setattr(tuned, "data_set", lambda *_: {"name": "Digits", "real": {"frechet": [0.1, 0.2]}})
    return asked


@pytest.mark.parametrize("budget", [5, 10, 20])
def test_the_most_steps_within_a_budget(budget):
    for sampler in (*tuned.settings((0.5,)), *RIVALS):
        steps = tuned.steps_within("digits", sampler, budget)
        price = [evaluations(sampler.solver, sampler.options, MODELS["digits"].sigmas(n)) for n in (steps, steps + 1)]
        assert price[0] <= budget < price[1], sampler.id


def test_a_budget_that_nothing_fits():
    assert tuned.steps_within("digits", RIVALS[0], 1) is None


def test_the_best_is_chosen_on_the_tuning_half_and_reported_on_the_other(calls, tmp_path):
    numbers = tuned.measure(Run(tmp_path))

    best = "eta 1, K = 1, sigma 1 to 10000, isotropic, noise × 1.05"
    louder = {
        f"{rival.id}, noise × 1.05" for rival in RIVALS if rival.family == tuned.STOCHASTIC and rival.solver != RIVAL
    }
    assert numbers["for_all"] == best and numbers["settings"] == 36
    assert numbers["chosen"] == [{"data": "digits", "budget": budget, "id": best} for budget in (10, 20)]
    assert {size for *_, size, tuning in calls if tuning} == {40, 80}
    assert {size for *_, size, tuning in calls if not tuning} == {20}
    assert not {group for group, *_, tuning in calls if tuning} & {group for group, *_, tuning in calls if not tuning}
    for row in numbers["rows"]:
        assert row["evaluations"] <= row["budget"] and len(row["groups"]["frechet"]) == 2
    assert {row["id"] for row in numbers["rows"]} == {best, "lgs", *(rival.id for rival in RIVALS), *louder}


def test_later_rounds_have_fewer_settings_and_none_is_measured_twice(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(tuned, "RANGES", (*tuned.RANGES[:4], (1.0, 9000.0)))  # the last holds the levels of another
    numbers = tuned.measure(Run(tmp_path))
    first, second = (len(round["frechet"]["digits, 10"]) for round in numbers["tried"])
    assert first == 36 and second <= 3 * 3 * 3 and second % 3 == 0
    tuning = [call for call in calls if call[-1]]
    assert len(tuning) < 2 * (first + second + 2 * 3), "ranges that hold the same levels are one setting"


def test_what_is_said_and_drawn(calls, tmp_path):
    findings = tuned.show(tuned.measure(Run(tmp_path)), tmp_path)
    first, *others = findings.sentences
    assert "LGS, K = 1, η = 1, σ ≥ 1, isotropic, noise × 1.05 does best" in first
    others = [text for text in others if not text.startswith("Missing: ")]
    assert len(others) == 4 and sum("Lanczos in part (LGS, Lanczos in part" in text for text in others) == 2
    told = [text for text in others if "the best setting for this" in text]
    assert len(told) == 2 and all("better than" in text for text in told)
    assert not any("level with" in text or "worse than" in text for text in told)
    assert Image.open(findings.figures[0].file).width > 800
    assert len(findings.tables[0].rows) == 2 * (2 + len(RIVALS) + 2)


def test_with_real_samples(tmp_path, monkeypatch):
    plan = tuned.Plan(("digits",), (6,), (1.0,), ((20, (1.0,), 1),), groups=2, size=20)
    monkeypatch.setattr(tuned, "QUICK_PLAN", plan)
    numbers = tuned.measure(Run(tmp_path, quick=True))
    assert tuned.measure(Run(tmp_path, quick=True)) == numbers, "from the cache"
    tried = numbers["tried"][0]["frechet"]["digits, 6"]
    assert numbers["for_all"] == min(tried, key=tried.get)


def test_more_noise():
    assert tuned.scaled(tuned.SHIPPED, 1.0) is tuned.SHIPPED
    louder = tuned.scaled(tuned.SHIPPED, 1.1)
    assert louder.options == {**tuned.SHIPPED.options, "s_noise": 1.1} and louder.name.endswith("noise × 1.1")


def test_a_deterministic_rival_has_no_noise_to_scale(calls, tmp_path):
    rows = tuned.measure(Run(tmp_path))["rows"]
    scaled = {row["family"] for row in rows if "noise ×" in row["name"]}
    assert scaled == {tuned.FULL, tuned.STOCHASTIC}


def test_what_the_node_starts_with_is_one_of_the_settings():
    assert sum(setting is tuned.SHIPPED for setting in tuned.settings(tuned.ETAS)) == 1
    assert len({setting.id for setting in tuned.settings(tuned.ETAS)}) == 72
