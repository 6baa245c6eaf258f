"""What the samples of trained models come to: figures, a table, and sentences for and against the full covariance."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from .metrics import METRICS, mean_and_error, sign
from .run import Figure, Findings, Numbers, Table
from .samplers import CHEAP, DETERMINISTIC, FAMILIES, FULL, SHIPPED, STOCHASTIC

BUDGETS = (5, 10, 20, 100)
"""Model evaluations at which samplers are compared, in words at `TOLD`. Of what is measured, samplers with one
evaluation a step spend them to the last, and those with two (T = 3, 5, 10, 50) all of them or all but one."""
TOLD = (10, 20)

COLOURS = {FULL: "#d55e00", CHEAP: "#0072b2", STOCHASTIC: "#009e73", DETERMINISTIC: "#4d4d4d"}
"""Okabe and Ito's, which the colour-blind can tell apart; within a family, markers and lines differ."""
STYLES = ("o-", "s--", "D-.", "^:", "v-", "P--", "X-.")

FLOOR = "#888888"
ACROSS = {"steps": "reverse steps", "evaluations": "model evaluations"}

DRAWN = (
    "secant",
    "lgs",
    "lanczos-k1",
    "lanczos-k1-half",
    "lanczos-k3",
    "isotropic",
    "isotropic-optimal",
    "diagonal",
    "diagonal-learned",
    "spectral",
    "dpmpp-2m-sde",
    "ddim",
    "heun",
    "dpmpp-2m",
)
"""What is in the figures; the table has all."""

Row = dict[str, Any]


def show(numbers: Numbers, folder: Path) -> Findings:
    sentences, figures, tables = [], [], []
    for data, about in numbers["data"].items():
        rows = [row for row in numbers["rows"] if row["data"] == data]
        if not rows:
            continue
        # Nothing is said of what has no error bar yet.
        sentences += _sentences(about["name"], [row for row in rows if len(row["groups"]["frechet"]) > 1])
        for metric in ("frechet", "kernel"):
            figures.append(_figure(numbers, data, metric, rows, folder / f"trained-{data}-{metric}.png"))
        tables.append(_table(about, rows))
    sentences += [f"Missing: {one['what']}: {one['why']}." for one in numbers["missing"]]
    return Findings(sentences, figures, tables)


def value(row: Row, metric: str) -> tuple[float, float]:
    """Mean over groups, and its standard error: 0 where there is one group alone."""
    mean, error = mean_and_error(row["groups"][metric])
    return mean, error or 0.0


def best(rows: list[Row], family: str, budget: float, metric: str = "frechet") -> Row | None:
    """The row of the family with the least distance for at most so many model evaluations."""
    within = [row for row in rows if row["family"] == family and row["evaluations"] <= budget]
    return min(within, key=lambda row: value(row, metric)[0], default=None)


def verdict(row: Row, other: Row, metric: str) -> int:
    """1 where the first row is nearer to real pictures, -1 where the other is, 0 where it may be chance.

    By the `sign` of their difference, group by group, of the groups that both have: samplers start from
    the same noise.
    """
    return sign([b - a for a, b in zip(row["groups"][metric], other["groups"][metric], strict=False)])


def _sentences(name: str, rows: list[Row]) -> list[str]:
    most = max((row["steps"] for row in rows), default=0)
    sentences = [text for budget in TOLD if budget <= most and (text := _at_budget(name, rows, budget))]
    standing = {budget: _standing(rows, budget) for budget in BUDGETS if budget <= most}
    told = [
        f"{words} at {_listed([str(budget) for budget, found in standing.items() if found == outcome])}"
        for outcome, words in {1: "ahead", 0: "level", -1: "behind"}.items()
        if outcome in standing.values()
    ]
    if told:
        sentences.append(
            f"{name}, the full covariance at its best against the best of all others, by Fréchet distance within a "
            f"number of model evaluations: {'; '.join(told)}."
        )
        settings = {family: len({row["id"] for row in rows if row["family"] == family}) for family in FAMILIES}
        counts = _listed([f"{count} of the {family}" for family, count in settings.items() if count])
        sentences.append(
            f"{name}, the best was chosen by these same numbers, out of {counts}. Better and worse are with 95 % "
            "confidence in the difference, over groups that start from the same noise."
        )
    return sentences + [text for steps in (5, 10) if (text := _at_steps(name, rows, steps))]


def _at_budget(name: str, rows: list[Row], budget: int) -> str | None:
    full = best(rows, FULL, budget)
    others = [other for family in FAMILIES if family != FULL and (other := best(rows, family, budget))]
    if full is None or not others:
        return None
    judged = {
        outcome: [other for other in others if verdict(full, other, "frechet") == outcome] for outcome in (1, 0, -1)
    }
    told = [
        f"{words} {_listed([_described(full, other) for other in judged[outcome]])}"
        for outcome, words in {1: "better than", 0: "level with", -1: "worse than"}.items()
        if judged[outcome]
    ]
    return (
        f"{name}, at most {budget} model evaluations, the best of each family: {full['name']}, {full['steps']} steps, "
        f"has a Fréchet distance of {_frechet(full)}. It is {'; '.join(told)}."
    )


def _frechet(row: Row) -> str:
    return with_error(*value(row, "frechet"))


def _described(full: Row, other: Row) -> str:
    """The other with its Fréchet distance, and where the kernel distance judges otherwise, that."""
    frechet, kernel = (verdict(full, other, metric) for metric in ("frechet", "kernel"))
    words = {1: "better", 0: "level", -1: "worse"}
    but = "" if frechet == kernel else f", by the kernel distance {words[kernel]}"
    return f"the {other['family']} ({other['name']}, {other['steps']} steps: {_frechet(other)}{but})"


def _standing(rows: list[Row], budget: int) -> int | None:
    """`verdict` of the full covariance's best against the best of all others."""
    full = best(rows, FULL, budget)
    others = [other for family in FAMILIES if family != FULL and (other := best(rows, family, budget))]
    if full is None or not others:
        return None
    return verdict(full, min(others, key=lambda row: value(row, "frechet")[0]), "frechet")


def _at_steps(name: str, rows: list[Row], steps: int) -> str | None:
    """Covariances at η = 1, in the same number of steps, whatever they cost."""
    known = {row["id"]: row for row in rows if row["steps"] == steps}
    cheap = [row for row in known.values() if row["family"] == CHEAP]
    if "lanczos-k1" not in known or not cheap:
        return None
    full = [known[id] for id in ("lanczos-k1", "lanczos-k3") if id in known]
    told = "; ".join(f"{row['name']}: {_frechet(row)} ({row['evaluations']:g})" for row in cheap + full)
    return f"{name}, {steps} steps with each covariance at η = 1, Fréchet distance (and model evaluations): {told}."


def _figure(numbers: Numbers, data: str, metric: str, rows: list[Row], file: Path) -> Figure:
    about, drawn = numbers["data"][data], [row for row in rows if row["id"] in DRAWN]
    canvas = Canvas(figsize=(9.5, 6.2), layout="constrained")
    panels = canvas.subplots(1, 2, sharey=True)
    real, real_error = mean_and_error(about["real"][metric])
    for panel, (across, label) in zip(panels, ACROSS.items(), strict=True):
        panel.axhline(real, color=FLOOR, linestyle=":", linewidth=1.5)
        panel.axhspan(real - (real_error or 0), real + (real_error or 0), color=FLOOR, alpha=0.2, linewidth=0)
        draw_lines(panel, drawn, across, metric)
        most = max(row[across] for row in drawn)
        ticks = {row["steps"] for row in drawn} if across == "steps" else {5, 10, 20, 50, 100, 200}
        panel.set_xscale("log")
        panel.set_xticks([tick for tick in sorted(ticks) if tick <= most])
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlabel(label)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    if metric == "frechet":
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[0].yaxis.set_minor_locator(NullLocator())
    else:
        scale_around_zero(panels[0], [value(row, metric) for row in drawn], real - (real_error or 0))
    panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].set_ylabel(METRICS[metric])
    panels[0].annotate("real pictures", (0, real), (4, 3), ("axes fraction", "data"), "offset points", color="#555555")
    legend(canvas, panels[0])
    canvas.savefig(file, dpi=140)
    groups = max(len(row["groups"][metric]) for row in rows)
    caption = (
        f"{METRICS[metric]} to {about['reference']:,} held-out real pictures, less is better: mean and standard error "
        f"over up to {groups} groups of {numbers['size']:,} samples. Left against reverse steps, right against what "
        "they cost: evaluations of the model, those for products with J among them; a learned diagonal's own network "
        f"is not counted. Lanczos in part: {_shipped()}. Dotted: as many real pictures that are not in the reference: "
        "the lower limit."
    )
    return Figure(file, f"{about['name']}: {METRICS[metric]}", caption)


def _shipped() -> str:
    eta, k, low, high, other = (
        SHIPPED.options[name]
        for name in ("eta", "lanczos_steps", "covariance_min_sigma", "covariance_max_sigma", "other_steps")
    )
    return f"η = {eta:g}, K = {k} for σ from {low:g} to {high:g}, {other} elsewhere"


def scale_around_zero(panel: Axes, values: list[tuple[float, float]], floor: float) -> None:
    """For an unbiased distance, which falls below zero where there is none: logarithmic beyond its errors alone."""
    width = max(1e-6, statistics.median(error for _, error in values))
    panel.set_yscale("asinh", linear_width=width)
    panel.set_ylim(bottom=2 * min(0.0, floor, *(mean - error for mean, error in values)))
    lowest, highest = panel.get_ylim()
    powers = [sign * 10.0**power for power in range(-5, 6) for sign in (-1, 1)]
    panel.set_yticks([0.0, *(tick for tick in powers if lowest < tick < highest and abs(tick) > 2 * width)])


def legend(canvas: Canvas, panel: Axes) -> None:
    """A column for each family."""
    entries = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    columns = [
        [(family, Line2D([], [], linestyle=""))]
        + [(name, handle) for name, handle in entries.items() if handle[0].get_color() == COLOURS[family]]
        for family in FAMILIES
    ]
    columns = [column for column in columns if len(column) > 1]
    height = max(map(len, columns))
    filled = [entry for column in columns for entry in column + [("", column[0][1])] * (height - len(column))]
    labels, handles = zip(*filled, strict=True)
    drawn = canvas.legend(handles, labels, loc="outside lower center", ncols=len(columns), frameon=False, fontsize=9)
    for text in drawn.get_texts():
        if text.get_text() in FAMILIES:
            text.set_fontweight("bold")


def draw_lines(panel: Axes, rows: list[Row], across: str, metric: str) -> None:
    seen: dict[str, int] = {}
    for id in DRAWN:
        line = sorted((row for row in rows if row["id"] == id), key=lambda row: row[across])
        if not line:
            continue
        family = line[0]["family"]
        number = seen[family] = seen.get(family, -1) + 1
        means, errors = zip(*(value(row, metric) for row in line), strict=True)
        emphasised = family == FULL
        panel.errorbar(
            [row[across] for row in line],
            means,
            yerr=errors,
            label=line[0]["name"],
            color=COLOURS[family],
            fmt=STYLES[number],
            markersize=7 if emphasised else 5,
            markerfacecolor=COLOURS[family] if number % 2 == 0 else "white",
            linewidth=2.4 if emphasised else 1.2,
            capsize=2.5,
            zorder=3 if emphasised else 2,
        )


def _table(about: dict[str, Any], rows: list[Row]) -> Table:
    title = f"{about['name']}: everything that was measured, mean ± standard error"
    return row_table(title, about, rows, list(METRICS))


def row_table(title: str, about: dict[str, Any], rows: list[Row], metrics: list[str]) -> Table:
    head = ("sampler", "steps", "evaluations", *(METRICS.get(metric, metric) for metric in metrics))
    cells = [
        (named(row), str(row["steps"]), f"{row['evaluations']:g}", *(of_groups(row["groups"][m]) for m in metrics))
        for row in rows
    ]
    cells.append(("the data themselves", "", "", *(of_groups(about["real"][metric]) for metric in metrics)))
    return Table(title, head, cells)


def named(row: Row) -> str:
    """With where it comes from, unless that is here or k-diffusion."""
    source = row.get("source", "")
    return f"{row['name']} ({source})" if source.startswith(("ComfyUI", "diffusers")) else row["name"]


def of_groups(groups: list[float]) -> str:
    """The mean over groups with its error; empty if there are none."""
    if not groups:
        return ""
    mean, error = mean_and_error(groups)
    return with_error(mean, error or 0.0)


def with_error(mean: float, error: float) -> str:
    """The error to two digits, the mean to as many places: ``1.234 ± 0.012``."""
    if error <= 0:
        return f"{mean:.3g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:z.{places}f} ± {error:.{places}f}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
