"""What follows for 10, 100 and 1,000 GPUs."""

from __future__ import annotations

import random
import statistics
from importlib import metadata
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from evidence.report.run import Figure, Findings, Numbers, Run, Section, Table
from lgs.batch.plan import MOST_JOBS

from .hosts import compare
from .measured import PICTURE_BYTES, SMALL_BYTES, OnRay, plan_costs, service_times, spread, store_costs
from .virtual import simulate

ASSUMED = {"picture_seconds": 5.0, "load_seconds": 60.0, "each": 100}
"""Of a GPU that nobody has run this on yet: what a picture takes, and a model until it is loaded; and pictures for each
GPU."""
GPUS = (10, 100, 1000)
LOADED = 0.6
"""Of what the driver can do: in the run that is compared with the simulation."""
WRITERS = 6
"""Threads that the driver writes with."""


def measure(run: Run) -> Numbers:
    actors, count, sizes = (4, 200, GPUS[:1]) if run.quick else (64, 10_000, GPUS)
    hosts = compare(*((20, 1) if run.quick else (60, 3)))
    parts = spread(service_times(count // 50))
    with OnRay() as on_ray:
        empty = on_ray.run(actors, count, [0.0], SMALL_BYTES)
        each = empty["seconds"] / count
        services = [actors * each / LOADED * part for part in parts]
        loaded = on_ray.run(actors, count, services, SMALL_BYTES)
        large = on_ray.run(actors, count // 10, [0.0], PICTURE_BYTES)
        one, two = (
            on_ray.run(workers, count // 50, [0.25 * part for part in parts], SMALL_BYTES) for workers in (1, 2)
        )
    return {
        "ray": metadata.version("ray"),
        "assumed": ASSUMED,
        "spread": [min(parts), max(parts)],
        "runs": {"empty": empty, "loaded": loaded, "large": large, "one": one, "two": two},
        "hosts": hosts,
        "service": sum(services) / len(services),
        "predicted": simulate(actors, _shuffled(services), count, 0.0, each),
        "plan": plan_costs(count),
        "store": {str(threads): store_costs(count // 20, threads) for threads in (1, WRITERS)},
        "farms": [
            {"gpus": gpus, "slow": slow} | _farm(gpus, parts, slow, each) for gpus in sizes for slow in (False, True)
        ],
    }


def _farm(gpus: int, parts: list[float], slow: bool, driver: float) -> dict[str, float]:
    """``slow``: a tenth of the GPUs takes twice as long."""
    services = _shuffled([ASSUMED["picture_seconds"] * part for part in parts])
    if slow:
        services[0] = [2 * seconds for seconds in services[0]]
    return simulate(gpus, services, gpus * ASSUMED["each"], ASSUMED["load_seconds"], driver)


def _shuffled(services: list[float]) -> list[list[float]]:
    """For ten workers: the same times, each in an order of its own."""
    chance = random.Random(0)
    return [chance.sample(services, len(services)) for _ in range(10)]


LOSSES = {"load": "model load", "tail": "stragglers at the end", "driver": "the driver and its store"}


def show(numbers: Numbers, folder: Path) -> Findings:
    file = folder / "many_gpus.png"
    plot(numbers["farms"], file)
    caption = (
        "What the GPUs' time goes to, by simulation, for each number of GPUs; at the right a tenth of them is slow."
    )
    return Findings(
        sentences(numbers), [Figure(file, "Many GPUs", caption)], [farms(numbers), limits(numbers), costs(numbers)]
    )


def sentences(numbers: Numbers) -> list[str]:
    runs, predicted = numbers["runs"], numbers["predicted"]
    empty, loaded, one, two = (runs[name] for name in ("empty", "loaded", "one", "two"))
    busy = loaded["jobs"] * numbers["service"] / loaded["workers"] / loaded["seconds"]
    ratio = two["jobs"] / two["seconds"] / (one["jobs"] / one["seconds"])
    return [
        f"{empty['jobs']:,} jobs on {empty['workers']} actors of Ray {numbers['ray']}, which share this machine's "
        f"cores with the driver: each picture is stored once. With nothing to do for the actors "
        f"{1 / _each(empty):.0f} jobs a second, {1000 * _each(empty):.1f} ms each, of which the driver's process "
        f"computes {1000 * empty['driver_seconds'] / empty['jobs']:.1f} ms.",
        f"With jobs of {1000 * numbers['service']:.0f} ms, which differ as measured ones do "
        f"({numbers['spread'][0]:.2f} to {numbers['spread'][1]:.2f} of their mean), the actors are busy {busy:.0%} of "
        f"the time; the simulation says {predicted['busy']:.0%}.",
        f"Two workers make {ratio:.2f} times as many pictures a second as one, with jobs that take time and no "
        f"processor. {beside(numbers['hosts'])}",
    ]


def beside(rows: list[dict] | None) -> str:
    """Real ComfyUIs, two beside one."""
    if rows is None:
        return "Real ComfyUIs were not measured: set COMFYUI_PATH to a checkout and COMFYUI_PYTHON to its interpreter."
    one, two = ([row["rate"] for row in rows if row["workers"] == workers] for workers in (1, 2))
    each = [second / first for first, second in zip(one, two, strict=True)]
    return (
        f"Two real ComfyUIs on this machine's processor, one thread each, with the bundled digits: "
        f"{statistics.median(each):.2f} times ({min(each):.2f} to {max(each):.2f} in {len(each)} rounds)."
    )


def _each(row: dict) -> float:
    return row["seconds"] / row["jobs"]


def farms(numbers: Numbers) -> Table:
    assumed = numbers["assumed"]
    title = (
        f"By simulation: {assumed['each']} pictures for each GPU; assumed are {assumed['picture_seconds']:.0f} s for a "
        f"picture and {assumed['load_seconds']:.0f} s to load a model"
    )
    head = ("GPUs", "all alike?", "minutes", "busy", *LOSSES.values(), "what costs most")
    rows = [
        (f"{row['gpus']:,}", "a tenth half as fast" if row["slow"] else "yes", f"{row['seconds'] / 60:.1f}")
        + tuple(f"{row[part]:z.1%}" for part in ("busy", *LOSSES))
        + (LOSSES[max(LOSSES, key=row.get)],)
        for row in numbers["farms"]
    ]
    return Table(title, head, rows)


def limits(numbers: Numbers) -> Table:
    """From what is measured, for each number of GPUs: what is asked of driver, store and plan, and what they can do."""
    seconds = numbers["assumed"]["picture_seconds"]
    driver, kept = 1 / _each(numbers["runs"]["empty"]), 1 / numbers["store"][str(WRITERS)]["keep"]
    large = 1 / _each(numbers["runs"]["large"])
    rows = []
    for gpus in dict.fromkeys(row["gpus"] for row in numbers["farms"]):
        wanted = gpus / seconds
        rows.append(
            (f"{gpus:,}", f"{wanted:.0f}")
            + tuple(f"{wanted / can:.0%}" for can in (driver, kept, large))
            + (f"{MOST_JOBS / wanted / 3600:.1f}",)
        )
    megabytes = PICTURE_BYTES / 2**20
    head = (
        "GPUs",
        "pictures a second",
        f"of what the driver can ({driver:.0f})",
        f"of what the store can, {megabytes:.0f} MB each ({kept:.0f})",
        f"of both together, {megabytes:.0f} MB each ({large:.0f})",
        f"hours until a plan of {MOST_JOBS:,} jobs is done",
    )
    return Table("What is asked of one driver, by what this machine can do", head, rows)


def costs(numbers: Numbers) -> Table:
    plan, store = numbers["plan"], numbers["store"]
    rows = [
        ("a job in the plan", f"{plan['bytes'] / 1000:.1f} kB, {1000 * plan['seconds']:.2f} ms")
        + (f"{MOST_JOBS * plan['bytes'] / 1e9:.1f} GB, {MOST_JOBS * plan['seconds'] / 60:.1f} minutes",)
    ]
    for threads, of in store.items():
        writers = "one thread" if threads == "1" else f"{threads} threads"
        rows.append(
            (f"a picture is written and flushed, {writers}", f"{1000 * of['keep']:.1f} ms")
            + (f"{MOST_JOBS * of['keep'] / 3600:.1f} hours",)
        )
    found = store["1"]["found"]
    rows.append(
        ("a picture is found done by a later run", f"{1000 * found:.1f} ms", f"{MOST_JOBS * found / 3600:.1f} hours")
    )
    return Table("Plan and store, on this machine", ("", "each", f"{MOST_JOBS:,}"), rows)


def describe(numbers: Numbers) -> str:
    """In plain text."""
    tables = []
    for table in (farms(numbers), limits(numbers), costs(numbers)):
        tables += ["", table.title, *(" | ".join(row) for row in (table.head, *table.rows))]
    return "\n".join([*sentences(numbers), *tables])


def plot(rows: list[dict], file: Path) -> None:
    """A bar for each number of GPUs, without slow ones and with."""
    figure = Canvas(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(rows, key=lambda row: row["slow"])
    names = [f"{row['gpus']:,} GPUs" + "\na tenth slow" * row["slow"] for row in ordered]
    below = [0.0] * len(ordered)
    for part, name in [("busy", "pictures"), *LOSSES.items()]:
        heights = [row[part] for row in ordered]
        axes.bar(names, heights, bottom=below, label=name)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.set(ylim=(0, 1), ylabel="share of the GPUs' time")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    figure.savefig(file, dpi=120)


SECTION = Section(
    "many_gpus",
    "Many GPUs",
    "What limits a batch on 10, 100 and 1,000 GPUs: loading the model, the size of the plan, the store, or stragglers?",
    measure,
    show,
    remarks=(
        "This machine has no GPU. What is measured is the driver, Ray, the plan and the store, with actors that sleep "
        "as long as a picture would take; the rest follows by running the real dispatcher in simulated time. Seconds "
        "for a picture and for loading a model are assumed.",
        "One driver hands out all jobs, and receives and writes all pictures. How many depends on its processor: at "
        "1,000 GPUs that may decide, between two runs on this machine, which is slower at times, whether the driver or "
        "the model's load costs most. Where one is too little, several can share a cluster, each with a part of the "
        "values and a folder of its own.",
    ),
)
