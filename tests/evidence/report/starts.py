"""Starting below the highest noise level: what it brings at equal model evaluations, and what it depends on.

Every sampler takes the same number of evaluations with a start and without: with one, its steps are re-spaced from the
start's level on. Without one a trajectory begins at pure noise times the highest level, as hosts do. A start is fitted

    pictures   to pictures that the model was made from (of the label that is asked for, where there are labels)
    model      to the model itself, with the label: 64 evaluations, those that find the level among them

and the level at which it begins is the one that its divergence from the model allows (`lgs.starts.Divergence`), from
four points a level, unless a level is given.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Canvas
from tqdm import tqdm

from evidence import rivals
from lgs.starts import levels

from . import beds
from .compared import of_groups
from .metrics import mean_and_error, sign
from .run import Figure, Findings, Numbers, Run, Section, Table, Unavailable, digest, libraries
from .started import measured_group, memorised, seed_kept

BEDS = ("cifar", "digits", "cifar-law", "digits-law")
BUDGETS = (5, 7, 10, 20)
SOLVERS = {
    "sample_dpmpp_2m": "DPM-Solver++(2M)",
    "sample_heun": "Heun",
    "uni_pc_bh2": "UniPC (bh2)",
    "ipndm": "iPNDM",
    "lgs": "LGS, Lanczos in part",
}
TOLD = "sample_dpmpp_2m"
"""The solver of what is measured with one alone."""

TRUTH, CONVERGED = "truth", "converged"
WORDS = {
    TRUTH: "to real pictures, or to exact samples",
    CONVERGED: "to what the network draws in 200 steps",
    "as_requested": "classified as requested",
    "variety": "variety",
}

PICTURES = {"from": "pictures", "rank": 64, "count": 4000}
MODEL = {"from": "model", "evaluations": 64}
MIXTURE = {"from": "mixture", "components": 4, "rank": 64, "count": 4000}
FLOW = {"from": "flow", "rank": 32, "count": 4000}
STARTS: dict[str, dict[str, Any] | None] = {"none": None, "pictures": PICTURES, "model": MODEL}
QUICK_STARTS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "pictures": {"from": "pictures", "rank": 4, "count": 20},
    "model": {"from": "model", "evaluations": 16},
}
ALLOWANCES = (0.03, 0.1, 0.3, 1.0)

FULL = {"groups": 5, "size": 400, "law": 1000}
QUICK = {"groups": 2, "size": 20, "law": 20}

FEWER = ("sample_heun", "lgs")
"""Measured in two groups: far behind the others wherever evaluations are few, with a start and without."""

SEEDS, SEED_STEPS = (20.0, 10.0, 5.0), 40
"""Levels at which a start begins, and steps, where it is asked whether a seed keeps its picture."""

FITTED_TO_FEW = (10, 50)
"""Pictures of each kind, where it is asked whether samples are these again."""


def variations(id: str) -> dict[str, list[dict[str, Any]]]:
    """What is varied at five evaluations of `TOLD`: each entry a start, or what the model is run in."""
    if id == "cifar-law":
        lowest = (0.01, 0.02, 0.03)
        return {"schedule": [{"start": start, "sigma_min": at} for start in (None, PICTURES, MODEL) for at in lowest]}
    if id != "cifar":
        return {}
    return {
        "learned": [{"start": start} for start in (MIXTURE, FLOW)],
        "level": [
            {"start": start | {"level": level}}
            for start in (PICTURES, MODEL)
            for level in (40.0, 20.0, 8.0, 5.0, 3.0, 2.0)
        ],
        "rank": [{"start": PICTURES | {"rank": rank}} for rank in (0, 4, 16, 64, 256)],
        "pictures": [
            {"start": PICTURES | {"count": count, "rank": min(64, count // 2)}} for count in (10, 50, 200, 1000, 4000)
        ],
        "evaluations": [{"start": MODEL | {"evaluations": count}} for count in (16, 32, 64, 128)],
        "one for all": [{"start": start | {"for_all": True}} for start in (PICTURES, MODEL)],
        "bfloat16": [{"start": start, "precision": "bfloat16"} for start in STARTS.values()],
        "guidance 2": [{"start": start, "guidance": 2.0} for start in STARTS.values()],
    }


ALONE = {"memorised": memorised, "seeds": seed_kept}
"""What has a measure of its own."""


def measure(run: Run) -> Numbers:
    plan = QUICK if run.quick else FULL
    folder = run.out / ("beds-quick" if run.quick else "beds")
    which = ("digits",) if run.quick else BEDS
    budgets, solvers = ((5,), [TOLD]) if run.quick else (BUDGETS, list(SOLVERS))
    starts = QUICK_STARTS if run.quick else STARTS
    numbers: Numbers = {
        "size": plan["size"], "law": plan["law"], "beds": {}, "rows": [], "varied": [], "allowed": [], "memorised": [],
        "seeds": [], "missing": [], "sources": {},
    }  # fmt: skip
    units: list[tuple[str, dict[str, Any]]] = []
    for solver in [solver for solver in solvers if solver in rivals.RIVALS]:
        try:
            rivals.find(solver)
        except rivals.Missing as problem:
            numbers["missing"].append({"what": SOLVERS[solver], "why": str(problem)})
            solvers = [other for other in solvers if other != solver]
        else:
            numbers["sources"][solver] = rivals.source(solver)
    for id in which:
        try:
            fingerprint = beds.prepared(id, folder, run.quick)
        except (OSError, RuntimeError, FileNotFoundError) as problem:
            numbers["missing"].append({"what": id, "why": str(problem)})
            continue
        numbers["beds"][id] = beds.about(beds.bed(id, str(folder)))
        size = plan["law" if id.endswith("-law") else "size"]
        common = {"bed": id, "folder": str(folder), "size": size, "fingerprint": fingerprint}
        for group, budget, solver, start in itertools.product(range(plan["groups"]), budgets, solvers, starts):
            if group < 2 or solver not in FEWER:
                given = {"solver": solver, "budget": budget, "start": starts[start], "group": group}
                units.append(("rows", common | given))
        if run.quick:
            continue
        for name, cases in variations(id).items():
            groups = plan["groups"] if name in ("learned", "schedule") else 2
            for varied, group in itertools.product(cases, range(groups)):
                given = {"solver": TOLD, "budget": 5, "group": group, "what": name}
                units.append(("varied", common | given | varied))
        if id in ("cifar", "digits"):
            for allowed, budget, start in itertools.product(ALLOWANCES, (5, 10), (PICTURES, MODEL)):
                start = start | {"allowed": allowed}
                given = {"solver": TOLD, "budget": budget, "start": start, "group": 0, "tuning": True}
                units.append(("allowed", common | given))
        if id == "cifar":
            for count, group in itertools.product(FITTED_TO_FEW, range(2)):
                start = PICTURES | {"count": count, "rank": count // 2, "level": 5.0}
                units.append(("memorised", common | {"budget": 5, "group": group, "start": start}))
            for level in (None, *SEEDS):
                start = None if level is None else PICTURES | {"level": level}
                units.append(("seeds", common | {"steps": SEED_STEPS, "group": 0, "start": start}))
    if not units:
        raise Unavailable("; ".join(f"{one['what']}: {one['why']}" for one in numbers["missing"]))
    units.sort(key=lambda unit: (unit[1]["group"], BEDS.index(unit[1]["bed"])))
    found: dict[tuple[str, str], dict[str, Any]] = {}
    version = digest(*libraries(), *sorted(Path(levels.__file__).parent.glob("*.py")))
    for number, (kind, unit) in enumerate(tqdm(units, desc="starts", unit=" cells")):
        case = {name: value for name, value in unit.items() if name not in ("folder", "fingerprint", "group", "size")}
        key = kind, repr(sorted(case.items(), key=str))
        if key not in found:
            found[key] = case | {"groups": {}, "evaluations": [], "levels": []}
            numbers[kind].append(found[key])
        given = {name: value for name, value in unit.items() if name != "what"}
        if kind in ALONE:
            found[key]["groups"].setdefault(kind, []).append(run.cached(ALONE[kind])(**given, version=version))
            continue
        source = rivals.source(unit["solver"]) if unit["solver"] in rivals.RIVALS else ""
        metrics = run.cached(measured_group)(**given, version=version + source)
        for name, value in metrics.pop("about").items():
            found[key][name].append(value)
        for metric, value in metrics.items():
            found[key]["groups"].setdefault(metric, []).append(value)
        if number % 50 == 49:
            run.so_far(numbers)
    return numbers


def show(numbers: Numbers, folder: Path) -> Findings:
    sentences = [text for id in numbers["beds"] for text in _sentences(numbers, id)]
    sentences += [text for id in numbers["beds"] if (text := _paid(numbers, id))]
    sentences += [f"Missing: {one['what']}: {one['why']}." for one in numbers["missing"]]
    sentences += [f"{SOLVERS[solver]} is the one of {source}." for solver, source in numbers["sources"].items()]
    file = folder / "starts.png"
    _draw(numbers, file)
    caption = (
        f"Fréchet distance {WORDS[TRUTH]}, mean and standard error over groups of {numbers['size']} samples "
        f"({numbers['law']} on laws), at equal model evaluations; those that a fit takes once are not counted."
    )
    tables = [_table(numbers, id) for id in numbers["beds"]]
    tables += [_varied(numbers, id) for id in dict.fromkeys(row["bed"] for row in numbers["varied"])]
    if numbers["allowed"]:
        tables.append(_allowed(numbers))
    if numbers["memorised"]:
        tables.append(_memorised(numbers))
    if numbers["seeds"]:
        tables.append(_seeds(numbers))
    return Findings(sentences, [Figure(file, "Starting below the highest noise level", caption)], tables)


def _name(start: Mapping[str, Any] | None) -> str:
    if start is None:
        return "none"
    extra = {name: value for name, value in start.items() if name not in ("from", "rank", "count", "evaluations")}
    words = {
        "pictures": f"{start.get('count')} pictures, rank {start.get('rank')}",
        "model": f"the model, {start.get('evaluations')} evaluations",
        "mixture": f"{start.get('components')} components, {start.get('count')} pictures",
        "flow": f"a flow of {start.get('rank')} coordinates, {start.get('count')} pictures of each label",
    }[start["from"]]
    told = {"level": "σ' = {:g}", "for_all": "one for all", "allowed": "{:g} nats allowed"}
    return ", ".join([words, *(told[name].format(value) for name, value in extra.items() if name in told)])


def _rows(numbers: Numbers, id: str, solver: str, budget: int) -> dict[str, dict[str, Any]]:
    """By the start's source."""
    return {
        "none" if row["start"] is None else row["start"]["from"]: row
        for row in numbers["rows"]
        if (row["bed"], row["solver"], row["budget"]) == (id, solver, budget)
    }


def _sentences(numbers: Numbers, id: str) -> list[str]:
    sentences = []
    for budget in BUDGETS[:3]:
        told = []
        for solver, name in SOLVERS.items():
            rows = _rows(numbers, id, solver, budget)
            if len(rows) < 3:
                continue
            before = rows["none"]["groups"][TRUTH]
            parts = []
            for source in ("pictures", "model"):
                after = rows[source]["groups"][TRUTH]
                words = {1: "nearer", 0: "level", -1: "farther"}[
                    sign([a - b for a, b in zip(before, after, strict=False)])
                ]
                parts.append(f"{of_groups(after)} from {'pictures' if source == 'pictures' else 'the model'} ({words})")
            told.append(f"{name}: {of_groups(before)} without, {', '.join(parts)}")
        if told:
            sentences.append(f"{numbers['beds'][id]['name']}, {budget} evaluations. {'; '.join(told)}.")
    return sentences


def _paid(numbers: Numbers, id: str) -> str:
    """What the evaluations that a start from the model takes once come to; empty where it brought nothing."""
    budget = BUDGETS[0]
    rows = {at: _rows(numbers, id, TOLD, at) for at in BUDGETS}
    if "model" not in rows[budget]:
        return ""
    reached, _ = mean_and_error(rows[budget]["model"]["groups"][TRUTH])
    without = [(at, mean_and_error(rows[at]["none"]["groups"][TRUTH])[0]) for at in BUDGETS if "none" in rows[at]]
    if len(without) < 2 or without[0][1] <= reached:  # a quick run has one
        return ""
    worth = without[-1][0]
    for (few, far), (many, near) in itertools.pairwise(without):
        if near <= reached:
            # A straight line in log distance over log evaluations.
            share = math.log(far / reached) / math.log(far / near)
            worth = few * (many / few) ** share
            break
    least = "" if without[-1][1] <= reached else "at least "
    cost = MODEL["evaluations"]
    return (
        f"{numbers['beds'][id]['name']}: {budget} evaluations of {SOLVERS[TOLD]} from the model's own start are worth "
        f"{least}{worth:.1f} without one, so that the {cost} that it takes once a prompt are made up for after "
        f"{'at most ' if least else ''}{math.ceil(cost / (worth - budget))} pictures."
    )


def _level(row: dict[str, Any]) -> str:
    found = [level for group in row["levels"] for level in group if level is not None]
    return f"{sum(found) / len(found):.3g}" if found else ""


def _table(numbers: Numbers, id: str) -> Table:
    rows = [row for row in numbers["rows"] if row["bed"] == id]
    metrics = [metric for metric in WORDS if any(metric in row["groups"] for row in rows)]
    head = ("sampler", "evaluations", "start", "σ'", *(WORDS[metric] for metric in metrics))
    order = sorted(rows, key=lambda row: (list(SOLVERS).index(row["solver"]), row["budget"]))
    cells = [
        (
            SOLVERS[row["solver"]],
            f"{row['evaluations'][0]:g}",
            _name(row["start"]),
            _level(row),
            *(of_groups(row["groups"][metric]) if metric in row["groups"] else "" for metric in metrics),
        )
        for row in order
    ]
    return Table(f"{numbers['beds'][id]['name']}: with a start and without", head, cells)


def _varied(numbers: Numbers, id: str) -> Table:
    rows = [row for row in numbers["varied"] if row["bed"] == id]
    metrics = [metric for metric in WORDS if any(metric in row["groups"] for row in rows)]
    cells = [
        (
            row["what"],
            _name(row["start"])
            + "".join(f", {row[name]}" for name in ("precision",) if name in row)
            + (f", guidance {row['guidance']:g}" if "guidance" in row else "")
            + (f", schedule to σ = {row['sigma_min']:g}" if "sigma_min" in row else ""),
            _level(row),
            *(of_groups(row["groups"][metric]) for metric in metrics),
        )
        for row in rows
    ]
    return Table(
        f"{numbers['beds'][id]['name']}, five evaluations of {SOLVERS[TOLD]}: what the start depends on",
        ("varied", "start", "σ'", *(WORDS[metric] for metric in metrics)),
        cells,
    )


def _memorised(numbers: Numbers) -> Table:
    cells = []
    for row in numbers["memorised"]:
        shares = row["groups"]["memorised"]
        told = (of_groups([share[name] for share in shares]) for name in ("with", "without"))
        cells.append((f"{row['start']['count']}", *told))
    return Table(
        "CIFAR-10: is a sample's nearest picture one that its start was fitted to? Share of samples; as many other "
        "pictures are there to be nearest, so that a half is chance",
        ("pictures of each label", "with the start, from σ' = 5", "without a start"),
        cells,
    )


def _seeds(numbers: Numbers) -> Table:
    cells = [
        (
            "another seed, no start" if row["start"] is None else f"the same seed, from σ' = {row['start']['level']:g}",
            of_groups(row["groups"]["seeds"]),
        )
        for row in numbers["seeds"]
    ]
    return Table(
        f"CIFAR-10, {SEED_STEPS} steps: how far a picture is from the one that its seed gives without a start",
        ("drawn", "root mean square per number, which lie between -1 and 1"),
        cells,
    )


def _allowed(numbers: Numbers) -> Table:
    cells = [
        (
            numbers["beds"][row["bed"]]["name"],
            f"{row['budget']}",
            _name(row["start"]),
            _level(row),
            *(of_groups(row["groups"][metric]) for metric in (TRUTH, CONVERGED)),
        )
        for row in numbers["allowed"]
    ]
    return Table(
        "How many nats a start may cost at five evaluations: chosen on the other half of the pictures, and other noise",
        ("data", "evaluations", "start", "σ'", WORDS[TRUTH], WORDS[CONVERGED]),
        cells,
    )


def _draw(numbers: Numbers, file: Path) -> None:
    ids = list(numbers["beds"])
    canvas = Canvas(figsize=(4.6 * len(ids), 4.2), layout="constrained")
    panels = canvas.subplots(1, len(ids), squeeze=False)[0]
    colours = dict(zip(SOLVERS, ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#d55e00"), strict=True))
    styles = {"none": (":", "o"), "pictures": ("-", "s"), "model": ("--", "^")}
    for panel, id in zip(panels, ids, strict=True):
        for solver, source in itertools.product(SOLVERS, styles):
            points = [
                (budget, *mean_and_error(row["groups"][TRUTH]))
                for budget in BUDGETS
                if (row := _rows(numbers, id, solver, budget).get(source))
            ]
            if points:
                at, means, errors = zip(*points, strict=True)
                line, marker = styles[source]
                panel.errorbar(
                    at,
                    means,
                    yerr=[error or 0 for error in errors],
                    color=colours[solver],
                    linestyle=line,
                    marker=marker,
                    markersize=4,
                    capsize=2,
                    label=f"{SOLVERS[solver]}, {'no start' if source == 'none' else 'start from ' + source}",
                )
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
        panel.minorticks_off()
        panel.set_title(numbers["beds"][id]["name"], fontsize=10)
        panel.set_xlabel("model evaluations")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("Fréchet distance")
    handles, names = panels[0].get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    canvas.savefig(file, dpi=130)


SECTION = Section(
    id="starts",
    title="Starting below the highest noise level",
    question="What do a model's first steps cost, and can what is known of its data take their place, for every "
    "sampler?",
    measure=measure,
    show=show,
    remarks=(
        "For: at five evaluations a start from pictures pays for every sampler on photographs, most where the sampler "
        "is far off, and one from the model nearly as much; for DPM-Solver++(2M), tried so, in bfloat16 and with "
        "guidance too. What is asked for is kept as long as each label has a start of its own: one for all loses some "
        "of it.",
        "For: hosts begin at pure noise, which lacks the data's mean. On digits that error stays however many steps "
        "there are, and grows with them for DPM-Solver++(2M); a start mends it.",
        "Against: at seven and ten evaluations UniPC and, slightly, iPNDM are farther from real pictures of CIFAR-10 "
        "with a start than without, and UniPC at five from real digits. None of these is farther from what the "
        "network draws itself: without a start, their error offsets the network's.",
        "Against: on the photographs' law DPM-Solver++(2M) at ten is farther with a start from pictures, and UniPC at "
        "seven with either; on the digits' law UniPC at five with either, and LGS at seven with one from pictures.",
        "Against: where no level is allowed a trajectory begins as hosts do, with their error: so it was in one group "
        "of the digits' law, from the model, at twenty evaluations.",
        "Photographs' law, five evaluations: with a start, where the schedule ends decides as much as what the start "
        "was fitted to.",
        "Samples lean towards the pictures that a start was fitted to where these are ten; with fifty that is within "
        "its error.",
    ),
)
