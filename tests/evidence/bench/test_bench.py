"""The bench runs, prints its tables and keeps what it has measured."""

import dataclasses
import json

import pytest

from evidence.studies import adaptive, attention

from . import cost
from .__main__ import SECTIONS, main


def test_sections_are_kept_one_by_one(tmp_path, capsys, monkeypatch):
    main(["--out", str(tmp_path), "--only", "adaptive", "--quick"])
    shown = capsys.readouterr().out
    assert "tolerance 0.005" in shown and "labelled digits, σ > 3" in shown
    kept = json.loads((tmp_path / "bench.json").read_text())["adaptive"]
    assert kept["about"]["basis"]["quick"] and kept["about"]["basis"]["versions"]["lgs"]
    by_way = {(row["case"], row["way"]): row for row in kept["rows"]}
    for case in {row["case"] for row in kept["rows"]}:
        loose, tight, three = (by_way[case, way] for way in ("tolerance 0.02", "tolerance 0.003", "K = 3"))
        assert loose["jvps"] < tight["jvps"] and loose["jvps"] < three["jvps"]
        assert tight["error"] < by_way[case, "K = 1"]["error"]

    def broken(run):
        raise RuntimeError("broken off")

    monkeypatch.setitem(SECTIONS, "cost", dataclasses.replace(SECTIONS["cost"], measure=broken))
    with pytest.raises(RuntimeError):
        main(["--out", str(tmp_path), "--only", "cost"])
    assert "adaptive" in json.loads((tmp_path / "bench.json").read_text())


def test_a_ratio_is_the_median_of_pairs():
    calls = []
    row = cost.ratio("name", lambda: calls.append("ours"), lambda: calls.append("other"), rounds=5, bound=1.0)
    assert calls == ["ours", "other"] * 6, "in turn, once to warm up"
    assert row["quartiles"][0] <= row["ratio"] <= row["quartiles"][1]
    assert "1.00" in cost.describe([row])


def test_the_plot_of_costs(tmp_path):
    row = {"name": "a name", "ratio": 1.1, "quartiles": [1.0, 1.2], "bound": 1.03}
    cost.plot([row, row | {"bound": None}], tmp_path / "cost.png")
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_a_way_that_cannot_be_had_says_why():
    rows = [{"name": "one", "ratio": 2.0, "peak_megabytes": 10.0}, {"name": "other", "note": "needs CUDA"}]
    assert "needs CUDA" in attention.describe(rows)


def test_cases_cover_both_processes_of_the_design(tmp_path):
    sigmas = adaptive.ddpm_sigmas(10)
    assert len(sigmas) == 11 and sigmas[-1] == 0 and (sigmas.diff() < 0).all()
