"""Starting below the highest noise level: what it brings at equal model evaluations, and what it depends on.

Every sampler takes the same number of evaluations with a start and without: with one, its steps are re-spaced from the
start's level on. Without one a trajectory begins at pure noise times the highest level, as hosts do. A start is fitted

    pictures   to pictures that the model was made from (of the label that is asked for, where there are labels)
    model      to 64 answers of the model at pure noise, with the label

and the level at which it begins is the one that its divergence from the model allows (`lgs.starts.Divergence`), from
four points a level, unless a level is given.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor
from tqdm import tqdm

import lgs
from evidence import rivals
from lgs.starts import Divergence, MixturePrior, Start, divergence, levels

from . import beds
from .compared import with_error
from .metrics import mean_and_error, sign
from .run import Figure, Findings, Numbers, Run, Section, Table, Unavailable, digest, libraries
from .samplers import SHIPPED, Counted, evaluations, k_diffusion

BEDS = ("cifar", "digits", "cifar-law", "digits-law")
BUDGETS = (5, 7, 10, 20)
SOLVERS = {
    "sample_dpmpp_2m": "DPM-Solver++(2M)",
    "sample_heun": "Heun",
    "uni_pc_bh2": "UniPC (bh2)",
    "ipndm": "iPNDM",
    "lgs": "LGS, the node's defaults",
}
TOLD = "sample_dpmpp_2m"
"""The solver of what is measured with one alone."""

BATCH = 100
TRUTH, CONVERGED = "truth", "converged"
WORDS = {
    TRUTH: "to real pictures, or to exact samples",
    CONVERGED: "to what the network draws in 200 steps",
    "as_requested": "classified as requested",
    "variety": "variety",
}

PICTURES = {"from": "pictures", "rank": 64, "count": 4000}
MODEL = {"from": "model", "evaluations": 64, "rank": 32}
STARTS: dict[str, dict[str, Any] | None] = {"none": None, "pictures": PICTURES, "model": MODEL}
QUICK_STARTS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "pictures": {"from": "pictures", "rank": 4, "count": 20},
    "model": {"from": "model", "evaluations": 8, "rank": 4},
}
ALLOWANCES = (0.03, 0.1, 0.3, 1.0)

FULL = {"groups": 5, "size": 400}
QUICK = {"groups": 2, "size": 20}


def variations() -> dict[str, list[dict[str, Any]]]:
    """What is varied, on CIFAR-10 at five evaluations of `TOLD`: each entry a start, or what the model is run in."""
    return {
        "level": [
            {"start": start | {"level": level}}
            for start in (PICTURES, MODEL)
            for level in (40.0, 20.0, 8.0, 5.0, 3.0, 2.0)
        ],
        "rank": [{"start": PICTURES | {"rank": rank}} for rank in (0, 4, 16, 64, 256)],
        "pictures": [
            {"start": PICTURES | {"count": count, "rank": min(64, count // 2)}} for count in (10, 50, 200, 1000, 4000)
        ],
        "evaluations": [
            {"start": MODEL | {"evaluations": count, "rank": count // 2}} for count in (8, 16, 32, 64, 128)
        ],
        "one for all": [{"start": start | {"for_all": True}} for start in (PICTURES, MODEL)],
        "bfloat16": [{"start": start, "precision": "bfloat16"} for start in STARTS.values()],
        "guidance 2": [{"start": start, "guidance": 2.0} for start in STARTS.values()],
    }


def measure(run: Run) -> Numbers:
    plan = QUICK if run.quick else FULL
    folder = run.out / ("beds-quick" if run.quick else "beds")
    which = ("digits",) if run.quick else BEDS
    budgets, solvers = ((5,), [TOLD]) if run.quick else (BUDGETS, list(SOLVERS))
    starts = QUICK_STARTS if run.quick else STARTS
    numbers: Numbers = {"size": plan["size"], "beds": {}, "rows": [], "varied": [], "allowed": [], "missing": []}
    units: list[tuple[str, dict[str, Any]]] = []
    for solver in [solver for solver in solvers if solver in rivals.RIVALS]:
        try:
            rivals.find(solver)
        except rivals.Missing as problem:
            numbers["missing"].append({"what": SOLVERS[solver], "why": str(problem)})
            solvers = [other for other in solvers if other != solver]
    for id in which:
        try:
            fingerprint = beds.prepared(id, folder, run.quick)
        except (OSError, RuntimeError, FileNotFoundError) as problem:
            numbers["missing"].append({"what": id, "why": str(problem)})
            continue
        numbers["beds"][id] = beds.about(beds.bed(id, str(folder)))
        common = {"bed": id, "folder": str(folder), "size": plan["size"], "fingerprint": fingerprint}
        for group, budget, solver, start in itertools.product(range(plan["groups"]), budgets, solvers, starts):
            given = {"solver": solver, "budget": budget, "start": starts[start], "group": group}
            units.append(("rows", common | given))
        if id == "cifar":
            for (name, cases), group in itertools.product(variations().items(), range(2)):
                for varied in cases:
                    given = {"solver": TOLD, "budget": 5, "group": group, "what": name}
                    units.append(("varied", common | given | varied))
        if id in ("cifar", "digits") and not run.quick:
            for allowed, budget, start in itertools.product(ALLOWANCES, budgets, (PICTURES, MODEL)):
                start = start | {"allowed": allowed}
                given = {"solver": TOLD, "budget": budget, "start": start, "group": 0, "tuning": True}
                units.append(("allowed", common | given))
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
        metrics = run.cached(measured_group)(**given, version=version)
        for name, value in metrics.pop("about").items():
            found[key][name].append(value)
        for metric, value in metrics.items():
            found[key]["groups"].setdefault(metric, []).append(value)
        if number % 50 == 49:
            run.so_far(numbers)
    return numbers


def measured_group(
    bed: str,
    folder: str,
    solver: str,
    budget: int,
    start: Mapping[str, Any] | None,
    group: int,
    size: int,
    fingerprint: str,
    version: str,
    precision: str = "float32",
    guidance: float = 1.0,
    tuning: bool = False,
) -> dict[str, Any]:
    """Distances of one group of samples; ``about``: evaluations of a trajectory, and the level of each kind's start."""
    of = beds.bed(bed, folder, tuning)
    labels = torch.arange(size) % beds.KINDS
    generator = torch.Generator().manual_seed(1_000_003 * (1 + tuning) + group)
    noise = torch.randn(size, *of.shape, generator=generator)
    steps = steps_within(solver, budget)
    begun: dict[int | None, tuple[Start | None, float | None]] = {}
    for kind in range(beds.KINDS) if of.labelled else (None,):
        begun[kind] = (None, None) if start is None else _fitted(of, start, kind, budget, group, precision, guidance)
    samples, taken = torch.empty_like(noise), 0.0
    for kind, (prior, level) in begun.items():
        chosen = (labels == kind if kind is not None else labels >= 0).nonzero().flatten()
        sigmas = of.sigmas(steps, level)
        for part in chosen.split(BATCH):
            x = noise[part] * of.sigma_max if level is None else prior.begin(noise[part], level)
            model = Counted(of.denoiser(labels[part], precision, guidance), len(part))
            draw = functools.partial(torch.randn, x.shape, generator=torch.Generator().manual_seed(group))
            samples[part] = _solved(solver, model, x, sigmas, lambda *_, draw=draw: draw())
            taken = model.evaluations
    at = [level for _, level in begun.values()]
    return of.distances(samples, labels) | {"about": {"evaluations": taken, "levels": at}}


def steps_within(solver: str, budget: int) -> int:
    """The most steps with which a trajectory takes at most so many evaluations."""
    if solver in rivals.RIVALS:
        return budget
    options = SHIPPED.options if solver == "lgs" else {}
    counted = lambda steps: evaluations(  # noqa: E731
        solver, options, torch.cat([torch.logspace(1.0, -1.5, steps), torch.zeros(1)])
    )
    return next(steps for steps in range(budget, 0, -1) if counted(steps) <= budget)


@torch.no_grad()
def _solved(solver: str, model: Counted, x: Tensor, sigmas: Tensor, noise: Any) -> Tensor:
    if solver == "lgs":
        return lgs.sample(model, x, sigmas, SHIPPED.options, noise=noise)
    if solver in rivals.RIVALS:
        return rivals.sample(solver, model, x, sigmas, noise)
    return getattr(k_diffusion(), solver)(model, x, sigmas, disable=True)


def _fitted(
    of: beds.Bed, start: Mapping[str, Any], kind: int | None, budget: int, group: int, precision: str, guidance: float
) -> tuple[Start | None, float | None]:
    """The start for items of this kind, and the level sigma at which it begins; none where it would hurt."""
    how = {name: value for name, value in start.items() if name not in ("level", "allowed", "for_all")}
    told = None if start.get("for_all") else kind
    prior, found = _prior(of, json.dumps(how, sort_keys=True), told, group, precision, guidance)
    if "level" in start:
        return prior, start["level"]
    return prior, found.level(budget, start.get("allowed", levels.ALLOWED))


@functools.lru_cache(maxsize=256)
def _prior(
    of: beds.Bed, how: str, told: int | None, group: int, precision: str, guidance: float
) -> tuple[Start, Divergence]:
    start, seed = json.loads(how), 1000 * group + (0 if told is None else told)

    @torch.no_grad()
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        asked = torch.arange(len(x)) % beds.KINDS if told is None else torch.full((len(x),), told)
        return of.denoiser(asked, precision, guidance)(x, sigma)

    generator = torch.Generator().manual_seed(seed)
    if start["from"] == "pictures":
        pictures = of.pictures(told, start["count"], seed).split(500)
        prior: Start = lgs.GaussianPrior.fit(pictures, start["rank"])
    elif start["from"] == "mixture":
        prior = MixturePrior.fit(of.pictures(told, start["count"], seed), start["components"], start["rank"])
    else:
        prior = lgs.GaussianPrior.from_model(
            denoise,
            of.shape,
            of.sigma_max,
            start["rank"],
            evaluations=start["evaluations"],
            batch=32,
            generator=generator,
        )
    return prior, divergence(prior, denoise, of.sigma_max, items=4, generator=generator)


def show(numbers: Numbers, folder: Path) -> Findings:
    sentences = [text for id in numbers["beds"] for text in _sentences(numbers, id)]
    sentences += [f"Missing: {one['what']}: {one['why']}." for one in numbers["missing"]]
    file = folder / "starts.png"
    _draw(numbers, file)
    caption = (
        f"Fréchet distance {WORDS[TRUTH]}, mean and standard error over groups of {numbers['size']} samples, at equal "
        "model evaluations; those that a fit takes once are not counted."
    )
    tables = [_table(numbers, id) for id in numbers["beds"]]
    if numbers["varied"]:
        tables.append(_varied(numbers))
    if numbers["allowed"]:
        tables.append(_allowed(numbers))
    return Findings(sentences, [Figure(file, "Starting below the highest noise level", caption)], tables)


def _name(start: Mapping[str, Any] | None) -> str:
    if start is None:
        return "none"
    extra = {name: value for name, value in start.items() if name not in ("from", "rank", "count", "evaluations")}
    words = {
        "pictures": f"{start.get('count')} pictures, rank {start.get('rank')}",
        "model": f"{start.get('evaluations')} answers of the model, rank {start.get('rank')}",
    }.get(start["from"], f"{start.get('components')} components, {start.get('count')} pictures")
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
                parts.append(f"{_of(after)} from {'pictures' if source == 'pictures' else 'the model'} ({words})")
            told.append(f"{name}: {_of(before)} without, {', '.join(parts)}")
        if told:
            sentences.append(f"{numbers['beds'][id]['name']}, {budget} evaluations. {'; '.join(told)}.")
    return sentences


def _of(groups: list[float]) -> str:
    mean, error = mean_and_error(groups)
    return with_error(mean, error or 0.0)


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
            *(_of(row["groups"][metric]) if metric in row["groups"] else "" for metric in metrics),
        )
        for row in order
    ]
    return Table(f"{numbers['beds'][id]['name']}: with a start and without", head, cells)


def _varied(numbers: Numbers) -> Table:
    cells = [
        (
            _name(row["start"])
            + "".join(f", {row[name]}" for name in ("precision",) if name in row)
            + (f", guidance {row['guidance']:g}" if "guidance" in row else ""),
            _level(row),
            *(_of(row["groups"][metric]) for metric in WORDS),
        )
        for row in numbers["varied"]
    ]
    return Table(
        f"CIFAR-10, five evaluations of {SOLVERS[TOLD]}: what the start depends on",
        ("varied", "start", "σ'", *WORDS.values()),
        cells,
    )


def _allowed(numbers: Numbers) -> Table:
    cells = [
        (
            numbers["beds"][row["bed"]]["name"],
            f"{row['budget']}",
            _name(row["start"]),
            _level(row),
            *(_of(row["groups"][metric]) for metric in (TRUTH, CONVERGED)),
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
    remarks=(),
)
