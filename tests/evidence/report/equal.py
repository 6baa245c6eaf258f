"""The node's defaults against every sampler that one could pick instead, at equal model evaluations.

Eight beds, each at 5, 7, 10 and 20 evaluations, 32 cells in all:

    gaussian, mixture           of `exact_samples`; trajectories start from the exact law
    cifar-law, digits-law       of `beds`; these and the networks begin at pure noise, as hosts do
    digits, cifar               of `beds`, the trained networks: to real pictures, and to what they draw in the end

Every rival is measured on one half of the pictures, with noise of its own; the `FINALISTS` that are nearest there are
measured again with LGS on the other half, in five groups, which start from the same noise. The best of them is the
cell's rival, and with d and d' the two mean distances and e that of exact samples

    q = max(d - e, chance) / max(d' - e, chance)

where chance is the standard error of e, or of either distance if that is larger; 1 where both are within chance of
exact samples. No sampler's options are chosen: those of LGS are the node's, the rivals' are their own.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullLocator
from scipy.stats import ttest_ind
from tqdm import tqdm

from evidence import rivals

from . import beds, exact_samples, started
from .compared import of_groups, with_error
from .metrics import mean_and_error, sign
from .run import Figure, Findings, Numbers, Run, Section, Table, digest, libraries
from .samplers import RIVAL, SECANT

BUDGETS = (5, 7, 10, 20)
BEDS = ("gaussian", "mixture", "cifar-law", "digits-law", "digits", "cifar")
MEASURES = {
    "gaussian": ("distance",),
    "mixture": ("distance",),
    "cifar-law": ("truth",),
    "digits-law": ("truth",),
    "digits": ("truth", "converged"),
    "cifar": ("truth", "converged"),
}
TO = {"truth": "to real pictures", "converged": "to what it draws in 200 steps"}
"""In words, of the networks."""

GROUPS, SIZE = 5, 400
TRIED = {"digits": 1, "cifar": 1}
"""Groups in which rivals are chosen; `TRIED_ON_LAWS` elsewhere."""
TRIED_ON_LAWS = 3
FINALISTS = 3
HALF = {"precision": "bfloat16", "budgets": (5, 10), "groups": 2}
"""What is measured of the networks in half precision, model and latents."""

BOUND, WORST = 0.85, 1.2
"""Of the geometric mean of q, and of the largest."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is compared: a bed, how far from what, within how many evaluations."""

    bed: str
    measure: str
    budget: int


def cells(numbers: Numbers) -> list[Cell]:
    """Those of which LGS and a rival have been measured in more than one group."""
    found = []
    for bed in BEDS:
        for measure, budget in itertools.product(MEASURES[bed], BUDGETS):
            cell = Cell(bed, measure, budget)
            if bed in numbers["beds"] and len(_groups(numbers, cell, SECANT.id)) > 1 and finalists(numbers, cell):
                found.append(cell)
    return found


def measure(run: Run) -> Numbers:
    numbers: Numbers = {"size": SIZE, "beds": {}, "tried": [], "rows": [], "half": [], "sources": {}, "missing": []}
    for id, rival in rivals.RIVALS.items():
        try:
            numbers["sources"][id] = rivals.source(id)
        except (rivals.Missing, FileNotFoundError) as problem:
            numbers["missing"].append({"what": rival.name, "why": str(problem)})
    bench = _Bench(run, numbers)
    budgets = BUDGETS[:1] if run.quick else BUDGETS
    for bed in BEDS[:1] if run.quick else BEDS:
        try:
            bench.prepare(bed)
        except (OSError, RuntimeError) as problem:
            numbers["missing"].append({"what": bed, "why": str(problem)})
            continue
        groups = range(2 if run.quick else GROUPS)
        tried = range(1 if run.quick else TRIED.get(bed, TRIED_ON_LAWS))
        for budget, id in tqdm(list(itertools.product(budgets, numbers["sources"])), desc=f"{bed}, rivals"):
            bench.put("tried", bed, id, budget, tried, tuning=True)
        run.so_far(numbers)
        chosen = [(budget, id) for budget in budgets for id in (SECANT.id, *_chosen(numbers, bed, budget))]
        for budget, id in tqdm(chosen, desc=f"{bed}, the nearest"):
            bench.put("rows", bed, id, budget, groups)
        run.so_far(numbers)
    if not run.quick:
        for bed, budget in itertools.product([bed for bed in TRIED if bed in numbers["beds"]], HALF["budgets"]):
            bench.put("half", bed, SECANT.id, budget, range(HALF["groups"]), precision=HALF["precision"])
            run.so_far(numbers)
    return numbers


class _Bench:
    """Measures groups, and keeps them."""

    def __init__(self, run: Run, numbers: Numbers):
        self.run = run
        self.numbers = numbers
        self.folder = run.out / "beds"
        self.marks: dict[str, str] = {}
        """What stands for the files of a bed."""

    def prepare(self, bed: str) -> None:
        """Raises what `beds.prepared` raises."""
        if bed in exact_samples.LAWS:
            formulas = [Path(exact_samples.__file__).with_name(name) for name in ("exact_samples.py", "mixture.py")]
            self.marks[bed] = digest(*formulas)
            law = exact_samples.LAWS[bed]()
            of_law = self.run.cached(exact_samples.of_exact_samples)
            exact = {"distance": [of_law(bed, group, self.marks[bed]) for group in range(GROUPS)]}
            self.numbers["beds"][bed] = {"name": law.name, "size": law.size, "exact": exact}
            return
        self.marks[bed] = beds.prepared(bed, self.folder)
        exact = self.run.cached(of_exact)(bed, str(self.folder), SIZE, self.marks[bed])
        name = beds.bed(bed, str(self.folder)).name
        self.numbers["beds"][bed] = {"name": name, "size": SIZE, "exact": exact}

    def put(
        self,
        where: str,
        bed: str,
        id: str,
        budget: int,
        groups: range,
        tuning: bool = False,
        precision: str = "float32",
    ) -> None:
        """A row of all groups, in every measure of the bed. ``tuning``: on the half that rivals are chosen on."""
        version = digest(*libraries()) if id == SECANT.id else self.numbers["sources"][id]
        row = {"bed": bed, "id": id, "budget": budget, "groups": {measure: [] for measure in MEASURES[bed]}}
        for group in groups:
            if bed in exact_samples.LAWS:
                sampler = ("lgs", dict(SECANT.options)) if id == SECANT.id else (RIVAL, {"rival": id})
                steps, group = started.steps_within(id, budget), group + 100 * tuning
                of_law = self.run.cached(exact_samples.measured_group)
                found = of_law(bed, *sampler, steps, group, f"{self.marks[bed]} {version}")
                row["evaluations"] = found["evaluations"]
            else:
                arguments = bed, str(self.folder), id, budget, None, group, SIZE, self.marks[bed], version, precision
                found = self.run.cached(started.measured_group)(*arguments, tuning=tuning)
                row["evaluations"] = found["about"]["evaluations"]
            for measure in MEASURES[bed]:
                row["groups"][measure].append(found[measure])
        self.numbers[where].append(row)


def of_exact(bed: str, folder: str, size: int, fingerprint: str) -> dict[str, list[float]]:
    return beds.bed(bed, folder).exact(size)


def _chosen(numbers: Numbers, bed: str, budget: int) -> list[str]:
    """The rivals that are nearest in any of the bed's measures, where they were tried."""
    rows = [row for row in numbers["tried"] if (row["bed"], row["budget"]) == (bed, budget)]
    nearest = []
    for measure in MEASURES[bed]:
        # What breaks down is not nearest.
        mean = lambda row, measure=measure: mean_and_error(row["groups"][measure])[0]  # noqa: E731
        known = [row for row in rows if math.isfinite(mean(row))]
        nearest += [row["id"] for row in sorted(known, key=mean)[:FINALISTS]]
    return list(dict.fromkeys(nearest))


def _groups(numbers: Numbers, cell: Cell, id: str) -> list[float]:
    for row in numbers["rows"]:
        if (row["bed"], row["budget"], row["id"]) == (cell.bed, cell.budget, id):
            return row["groups"][cell.measure]
    return []


def finalists(numbers: Numbers, cell: Cell) -> dict[str, list[float]]:
    """Of each rival that was measured again, the distances."""
    rows = (row for row in numbers["rows"] if (row["bed"], row["budget"]) == (cell.bed, cell.budget))
    return {row["id"]: row["groups"][cell.measure] for row in rows if row["id"] != SECANT.id}


@dataclasses.dataclass(frozen=True)
class Compared:
    """A cell's distances, group by group, and those of sets of exact samples."""

    ours: list[float]
    rival: str
    theirs: list[float]
    exact: list[float]

    @property
    def q(self) -> float:
        return excess_ratio(self.ours, self.theirs, self.exact)

    @property
    def sign(self) -> int:
        """1 where LGS is nearer with 95 % confidence, -1 where the rival is; 0 where both are as good as exact."""
        if within_chance(self.ours, self.exact) and within_chance(self.theirs, self.exact):
            return 0
        return sign([b - a for a, b in zip(self.ours, self.theirs, strict=True)])


def compared(numbers: Numbers, cell: Cell) -> Compared:
    known = finalists(numbers, cell)
    best = min(known, key=lambda id: mean_and_error(known[id])[0])
    exact = numbers["beds"][cell.bed]["exact"][cell.measure]
    return Compared(_groups(numbers, cell, SECANT.id), best, known[best], exact)


def excess_ratio(ours: list[float], theirs: list[float], exact: list[float]) -> float:
    """q. Of samples that are exact, or nearer than chance lets them be, the excess is chance's."""
    if within_chance(ours, exact) and within_chance(theirs, exact):
        return 1.0
    floor, error = mean_and_error(exact)
    chance = max(error or 0.0, *(mean_and_error(groups)[1] or 0.0 for groups in (ours, theirs)))
    own, other = (max(mean_and_error(groups)[0] - floor, chance) for groups in (ours, theirs))
    return own / other


def within_chance(groups: list[float], exact: list[float]) -> bool:
    """Whether they are not farther than exact samples with 95 % confidence, by Welch's test."""
    return ttest_ind(groups, exact, equal_var=False, alternative="greater").pvalue > 0.05


def geometric_mean(numbers: Numbers) -> tuple[float, float]:
    """Of q over all cells, and its standard error, by leaving out each group in turn in all cells at once."""
    found = [compared(numbers, cell) for cell in cells(numbers)]
    mean = lambda qs: math.exp(math.fsum(map(math.log, qs)) / len(qs))  # noqa: E731
    count = min(len(one.ours) for one in found)
    without = [
        mean([excess_ratio(_without(one.ours, group), _without(one.theirs, group), one.exact) for one in found])
        for group in range(count)
    ]
    centre = math.fsum(without) / count
    variance = (count - 1) / count * math.fsum((value - centre) ** 2 for value in without)
    return mean([one.q for one in found]), math.sqrt(variance)


def _without(groups: list[float], group: int) -> list[float]:
    return groups[:group] + groups[group + 1 :]


def show(numbers: Numbers, folder: Path) -> Findings:
    sentences = _sentences(numbers)
    sentences += [f"Missing: {one['what']}: {one['why']}." for one in numbers["missing"]]
    of = {}
    for id, source in numbers["sources"].items():
        of.setdefault(source, []).append(rivals.RIVALS[id].name)
    sentences += [f"From {source}: {', '.join(names)}." for source, names in of.items()]
    file = folder / "equal.png"
    _draw(numbers, file)
    caption = (
        "LGS as the node has it, every rival on the half that rivals are chosen on (grey), and the best of each cell "
        "where it is measured again (blue, its name beside it): mean and standard error over groups of samples. "
        "Dotted: exact samples, or real pictures."
    )
    tables = [_table(numbers), *_half(numbers), *(_tried(numbers, bed) for bed in numbers["beds"])]
    return Findings(sentences, [Figure(file, "At equal model evaluations", caption)], tables)


def title(numbers: Numbers, bed: str, measure: str) -> str:
    name = exact_samples.capitalised(numbers["beds"][bed]["name"])
    return f"{name}, {TO[measure]}" if bed in TRIED else name


def _sentences(numbers: Numbers) -> list[str]:
    known = {cell: compared(numbers, cell) for cell in cells(numbers)}
    if not known:
        return []
    by_sign = {outcome: sum(one.sign == outcome for one in known.values()) for outcome in (1, 0, -1)}
    worse = [f"{title(numbers, c.bed, c.measure)} at {c.budget} ({v.q:.2f})" for c, v in known.items() if v.q > WORST]
    total = (
        f"q, the excess distance over exact samples divided by the best rival's, has a geometric mean of "
        f"{with_error(*geometric_mean(numbers))} over {len(known)} cells (aimed at: {BOUND:g}). LGS is nearer than the "
        f"best rival with 95 % confidence in {by_sign[1]} of them, level in {by_sign[0]}, farther in {by_sign[-1]}."
    )
    most = f"Above {WORST:g}: {', '.join(worse)}." if worse else f"No cell is above {WORST:g}."
    return [total, most]


def _table(numbers: Numbers) -> Table:
    words = {1: "nearer", 0: "level", -1: "farther"}
    rows = []
    for cell in cells(numbers):
        one = compared(numbers, cell)
        rows.append(
            (
                title(numbers, cell.bed, cell.measure),
                str(cell.budget),
                *(of_groups(groups) for groups in (one.ours, one.theirs)),
                rivals.RIVALS[one.rival].name,
                of_groups(one.exact),
                f"{one.q:.2f}",
                words[one.sign],
            )
        )
    head = ("data", "evaluations", SECANT.name, "best rival", "which is", "exact", "q", "LGS is")
    return Table("The node's defaults beside the best rival of each cell", head, rows)


def _half(numbers: Numbers) -> list[Table]:
    rows = []
    for row in numbers["half"]:
        for measure in MEASURES[row["bed"]]:
            half = row["groups"][measure]
            single = _groups(numbers, Cell(row["bed"], measure, row["budget"]), SECANT.id)[: len(half)]
            differences = [a - b for a, b in zip(half, single, strict=True)]
            told = (of_groups(groups) for groups in (single, half, differences))
            rows.append((title(numbers, row["bed"], measure), str(row["budget"]), *told))
    head = ("data", "evaluations", "float32", HALF["precision"], "difference, from the same noise")
    caption = f"{SECANT.name}: model and latents in half precision, rounded after each operation"
    return [Table(caption, head, rows)] if rows else []


def _tried(numbers: Numbers, bed: str) -> Table:
    rows = []
    for id, measure in itertools.product(numbers["sources"], MEASURES[bed]):
        found = {row["budget"]: row for row in numbers["tried"] if (row["bed"], row["id"]) == (bed, id)}
        to = (TO[measure],) if bed in TRIED else ()
        told = (of_groups(found[budget]["groups"][measure]) if budget in found else "" for budget in BUDGETS)
        rows.append((rivals.RIVALS[id].name, *to, *told))
    head = ("sampler", *(("distance",) if bed in TRIED else ()), *(f"{budget} evaluations" for budget in BUDGETS))
    name = exact_samples.capitalised(numbers["beds"][bed]["name"])
    return Table(f"{name}: every rival, where the nearest were chosen", head, rows)


def _draw(numbers: Numbers, file: Path) -> None:
    panels_of = [(bed, measure) for bed in numbers["beds"] for measure in MEASURES[bed]]
    rows = math.ceil(len(panels_of) / 4)
    canvas = Canvas(figsize=(15, 4 * rows), layout="constrained")
    panels = canvas.subplots(rows, min(4, len(panels_of)), squeeze=False).flatten()
    for panel, (bed, measure) in itertools.zip_longest(panels, panels_of, fillvalue=(None, None)):
        if bed is None:
            panel.set_axis_off()
            continue
        _panel(numbers, panel, bed, measure)
    for panel in panels[::4]:
        panel.set_ylabel("distance")
    canvas.savefig(file, dpi=120)


def _panel(numbers: Numbers, panel: Any, bed: str, measure: str) -> None:
    mean = functools.cache(lambda id: _means(numbers["tried"], bed, measure, id))
    for id in numbers["sources"]:
        panel.plot(*mean(id), color="#bbbbbb", linewidth=0.8, zorder=1)
    floor, chance = mean_and_error(numbers["beds"][bed]["exact"][measure])
    panel.axhline(floor, color="#888888", linestyle=":")
    known = [cell for cell in cells(numbers) if (cell.bed, cell.measure) == (bed, measure)]
    lines = {"#0072b2": ("s--", "theirs", "best rival"), "#d55e00": ("o-", "ours", SECANT.name)}
    lowest = highest = floor
    for colour, (style, which, name) in lines.items():
        values = [mean_and_error(getattr(compared(numbers, cell), which)) for cell in known]
        if not values:
            continue
        means, errors = zip(*values, strict=True)
        lowest, highest = min(lowest, *means), max(highest, *means)
        at = [cell.budget for cell in known]
        panel.errorbar(
            at, means, yerr=[e or 0 for e in errors], fmt=style, color=colour, capsize=2, label=name, zorder=3
        )
    for cell in known:
        one = compared(numbers, cell)
        name, at = rivals.RIVALS[one.rival].name, (cell.budget, mean_and_error(one.theirs)[0])
        panel.annotate(
            name, at, (3, 5), textcoords="offset points", fontsize=6.5, color="#0072b2", rotation=25
        ).set_in_layout(False)
    panel.set_xscale("log")
    panel.set_xticks(BUDGETS, [str(budget) for budget in BUDGETS])
    panel.xaxis.set_minor_locator(NullLocator())
    if lowest > 0:
        panel.set_yscale("log")
        panel.set_ylim(lowest / 1.3, 2.5 * highest)
    else:  # without bias, and at chance below zero
        panel.set_yscale("asinh", linear_width=max(1e-6, chance or 0.0))
        panel.set_ylim(2 * lowest - (chance or 0.0), 3 * highest)
    panel.set_title(title(numbers, bed, measure), fontsize=9)
    panel.set_xlabel("model evaluations")
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    if known:
        panel.legend(fontsize=7, frameon=False, loc="upper right")


def _means(rows: list[dict[str, Any]], bed: str, measure: str, id: str) -> tuple[list[int], list[float]]:
    found = sorted(
        (row["budget"], mean_and_error(row["groups"][measure])[0])
        for row in rows
        if (row["bed"], row["id"]) == (bed, id)
    )
    return [budget for budget, _ in found], [mean for _, mean in found]


SECTION = Section(
    id="equal",
    title="Against every sampler, at equal model evaluations",
    question="With the node's defaults, how near do samples come to what they should be, beside the best that one "
    "could pick instead?",
    measure=measure,
    show=show,
    remarks=(
        "For: where truth is known, and to what a network itself draws, one setting is nearer than the best of sixteen "
        "samplers or level with it in every cell, and most in few evaluations. Which is the best of the others changes "
        "from cell to cell.",
        "Against: real digits come out nearer with stochastic samplers, with certainty at twenty evaluations alone; "
        "real photographs with UniPC at five and seven and with SA-Solver at ten. What these networks draw in the end "
        "is itself farther from real pictures than that: there the error of a sampler offsets the network's.",
        "Every sampler has Karras's schedule, as it is, and its own defaults.",
    ),
)
