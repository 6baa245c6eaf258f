"""Simulated batches against what can be worked out by hand; the section of the page out of made-up numbers."""

import asyncio
import os
import statistics
import time

import pytest

from evidence.report.page import plain

from .hosts import compare, rate
from .measured import SMALL_BYTES, OnRay, plan_costs, planned, spread, store_costs
from .section import ASSUMED, _farm, beside, describe, show
from .virtual import run, simulate


def test_sleeping_takes_no_time_and_comes_in_order():
    ended = []

    async def work(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        ended.append((name, asyncio.get_running_loop().time()))

    async def both() -> None:
        await asyncio.gather(work("long", 3600.0), work("short", 60.0))

    began = time.perf_counter()
    run(both())
    assert time.perf_counter() - began < 60
    assert ended == [("short", pytest.approx(60.0)), ("long", pytest.approx(3600.0))]


@pytest.mark.parametrize("workers", [1, 7, 40])
def test_equal_jobs_and_a_driver_that_takes_no_time(workers: int):
    """Each worker loads for 60 s and then makes 20 pictures of 5 s."""
    found = simulate(workers, [[5.0]], 20 * workers, 60.0, 0.0)
    assert found["seconds"] == pytest.approx(160)
    assert found["busy"] == pytest.approx(100 / 160) and found["load"] == pytest.approx(60 / 160)
    assert found["tail"] == pytest.approx(0) and found["driver"] == pytest.approx(0, abs=1e-9)


def test_a_driver_that_is_too_slow_is_what_it_waits_for():
    """100 workers could make 100 pictures a second; the driver takes 0.1 s for each."""
    found = simulate(100, [[1.0]], 5000, 0.0, 0.1)
    assert found["seconds"] == pytest.approx(500, rel=0.01)
    assert found["busy"] == pytest.approx(0.1, rel=0.01) and found["driver"] > 0.85


def test_one_long_job_at_the_end_is_a_tail():
    """The last of 11 jobs on two workers starts when all others are done."""
    found = simulate(2, [[1.0] * 5 + [10.0], [1.0] * 5], 11, 0.0, 0.0)
    assert found["seconds"] == pytest.approx(15)
    assert found["tail"] == pytest.approx(10 / 30) and found["busy"] == pytest.approx(20 / 30)


def test_the_parts_are_all_of_the_time():
    found = _farm(10, spread([0.9, 1.0, 1.3]), slow=True, driver=0.01)
    assert sum(found[part] for part in ("busy", "load", "tail", "driver")) == pytest.approx(1)
    assert all(value >= -1e-9 for value in found.values())


def test_times_are_parts_of_their_mean():
    assert statistics.fmean(spread([1.0, 2.0, 6.0])) == pytest.approx(1) and spread([2.0, 2.0]) == [1.0, 1.0]


def test_a_plan_is_of_jobs_that_differ():
    made = planned(30)
    assert len({job.id for job in made}) == 30 and made[0].graph["1"]["class_type"] == "CheckpointLoaderSimple"
    costs = plan_costs(30)
    assert 1_000 < costs["bytes"] < 100_000 and costs["seconds"] > 0
    assert min(store_costs(4, 2).values()) > 0


def test_each_picture_of_a_run_on_ray_is_counted():
    pytest.importorskip("ray", reason="to run these, install Ray: pip install ray==2.60.0")
    with OnRay() as on_ray:
        found = on_ray.run(3, 60, [0.01], SMALL_BYTES)
    assert found["jobs"] == 60 and found["seconds"] > 60 * 0.01 / 3 and found["driver_seconds"] > 0


def test_two_hosts_beside_one_are_compared_round_by_round():
    rows = [(1, 1.0), (2, 1.9), (1, 2.0), (2, 3.0), (1, 1.0), (2, 1.7)]
    assert "1.70 times (1.50 to 1.90 in 3 rounds)" in beside([{"workers": w, "rate": rate} for w, rate in rows])


def test_a_rate_counts_from_when_all_workers_are_busy():
    """Two pictures in the first minute, then one each half second, in any order."""
    assert rate([30.0, 0.0, *(60 + second / 2 for second in range(8))]) == pytest.approx(2.0)


def test_real_hosts_are_measured_where_there_is_one():
    if "COMFYUI_PATH" not in os.environ:
        pytest.skip("to run this, set COMFYUI_PATH to a checkout of ComfyUI and COMFYUI_PYTHON to its interpreter")
    pytest.importorskip("ray", reason="to run these, install Ray: pip install ray==2.60.0")
    assert [(row["workers"], row["rate"] > 0) for row in compare(8, 1)] == [(1, True), (2, True)]


def test_the_section(tmp_path):
    row = {"workers": 4, "jobs": 200, "seconds": 1.0, "driver_seconds": 0.5, "bytes": SMALL_BYTES}
    numbers = {
        "ray": "2",
        "assumed": ASSUMED,
        "spread": [0.9, 1.2],
        "runs": {
            "empty": row,
            "loaded": row | {"seconds": 2.0},
            "large": row,
            "one": row,
            "two": row | {"seconds": 0.5},
        },
        "hosts": None,
        "service": 0.03,
        "predicted": {"busy": 0.7},
        "plan": {"bytes": 5000.0, "seconds": 0.0001},
        "store": {"1": {"keep": 0.01, "found": 0.002}, "6": {"keep": 0.005, "found": 0.002}},
        "farms": [{"gpus": 10, "slow": slow, **_farm(10, [1.0], slow, 0.005)} for slow in (False, True)],
    }
    findings = show(plain(numbers), tmp_path)
    assert "200 jobs a second, 5.0 ms each, of which the driver's process computes 2.5 ms" in findings.sentences[0]
    assert "busy 75% of the time; the simulation says 70%" in findings.sentences[1]
    assert "2.00 times as many" in findings.sentences[2]
    assert "set COMFYUI_PATH" in findings.sentences[2]
    assert findings.tables[1].rows == [("10", "2", "1%", "1%", "1%", "138.9")]
    assert (tmp_path / "many_gpus.png").read_bytes().startswith(b"\x89PNG")
    assert "model load" in describe(numbers)
