"""Classifier guidance, where the covariance enters twice: in the noise of each step and in the pull of the class.

On the mixture of `evidence.report.mixture` the classifier and its gradient are exact, and so is the law that the
guided chain ought to reach, p(x_s | y) = N(m_y, C + sigma_s^2 I). The steps are those of `evidence.report.guidance`.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Drawing
from tqdm import tqdm

from . import kernels, slopes
from .guidance import evaluations_of_a_step, exact_figures, guided_figures
from .run import Figure, Findings, Numbers, Run, Section, Table, digest, libraries

STEPS = (5, 10, 15, 20, 30, 60)
SHOWN = (10, 30)
BUDGETS = (30, 60)
"""Steps, and model evaluations, at which samplers are compared."""
EXACT_SEEDS = 40

WAYS = {
    "mean": "gradient at the mean",
    "point": "gradient at xₜ",
    "denoiser": "gradient in the denoiser",
}
STYLES = {
    "isotropic": ("isotropic, v", "#E69F00", "o"),
    "isotropic-optimal": ("isotropic-optimal", "#767676", "D"),
    "diagonal": ("diagonal", "#009E73", "^"),
    "full, K = 1": ("full, K = 1", "#56B4E9", "v"),
    "full, K = 3": ("full, K = 3", "#0072B2", "P"),
}


def measure(run: Run) -> Numbers:
    each, seeds, counts = (100, 2, STEPS[:2]) if run.quick else (1000, 5, STEPS)
    formulas = [Path(__file__).with_name(f"{name}.py") for name in ("guidance", "kernels", "mixture")]
    version = digest(*formulas, *libraries())
    chains = [(name, way, steps) for way in WAYS for name in STYLES for steps in counts]
    rows = []
    with tqdm(total=sum(steps for *_, steps in chains) * seeds, desc="guidance", unit=" steps") as bar:
        for name, way, steps in chains:
            found = []
            for seed in range(seeds):
                found.append(run.cached(guided_figures)(name, way, steps, each, seed, version))
                bar.update(steps)
            evaluations = steps * evaluations_of_a_step(way, name)
            rows.append(
                {"covariance": name, "way": way, "steps": steps, "evaluations": evaluations} | over_seeds(found)
            )
    exact = over_seeds([run.cached(exact_figures)(each, seed, version) for seed in range(EXACT_SEEDS)])
    return {"each": each, "seeds": seeds, "steps": counts, "chains": rows, "exact": exact}


def over_seeds(found: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard error of each figure."""
    return {name: slopes.mean_and_error(np.array([one[name] for one in found])) for name in found[0]}


def show(numbers: Numbers, folder: Path) -> Findings:
    file = folder / "guidance.png"
    draw(numbers, file)
    return Findings(
        [
            f"Squared Fréchet distances to the law of the class; {numbers['each']} exact samples a class have "
            f"{distance(numbers['exact'])}. A distance no larger than this is as good as exact, and not better.",
            *(sentence(numbers, way) for way in WAYS),
            "In the first two cases the covariance is that of the unguided model, which includes the spread between "
            "the classes that guidance should remove; in the denoiser it is the class's own.",
            "The comparison at equal evaluations favours the cheap covariances: trace and diagonal count as known, as "
            "from a network that has learnt them without error. Probes would cost an evaluation each.",
        ],
        [
            Figure(
                file,
                "Guided samples: distance to the law of the class",
                "Mixture of four Gaussians, guided to each of them in turn, log-spaced DDPM steps (η = 1) from "
                f"σ = {kernels.SIGMA_MAX:g} to {kernels.SIGMA_MIN:g}. Squared Fréchet distance of "
                f"{numbers['each']} samples a class to the exact p(x | y): mean over the classes and "
                f"{numbers['seeds']} seeds, error bars of two standard errors. Dotted: as many exact samples. Above by "
                "steps, below by model evaluations: the trace and the diagonal count as known, K Lanczos steps as K, "
                "the product of the full Σ with the gradient as one.",
            )
        ],
        [table(numbers, "steps", SHOWN, "Equal steps"), table(numbers, "evaluations", BUDGETS, "Equal evaluations")],
    )


def sentence(numbers: Numbers, way: str) -> str:
    """The distances of one way of guidance at equal steps and at equal evaluations, the best first."""
    words = f"{WAYS[way].capitalize()}."
    for axis, values in (("steps", SHOWN), ("evaluations", BUDGETS)):
        rows = [row for row in numbers["chains"] if row["way"] == way and row[axis] == values[0]]
        rows.sort(key=lambda row: row["frechet"]["value"])
        found = ", ".join(f"{distance(row)} ({row['covariance']})" for row in rows)
        words += f" {values[0]} {axis}: {found}." if len(rows) > 1 else ""
    return words


def distance(row: dict) -> str:
    return f"{row['frechet']['value']:.4f} ± {row['frechet']['stderr']:.4f}"


def table(numbers: Numbers, axis: str, values: tuple[int, ...], title: str) -> Table:
    rows = []
    for way, name, value in itertools.product(WAYS, STYLES, values):
        for row in numbers["chains"]:
            if (row["way"], row["covariance"], row[axis]) == (way, name, value):
                share = f"{100 * row['share']['value']:.1f} ± {100 * row['share']['stderr']:.1f} %"
                counts = str(row["steps"]), str(row["evaluations"])
                rows.append((WAYS[way], STYLES[name][0], *counts, share, distance(row)))
    return Table(title, ("guidance", "covariance", "steps", "evaluations", "of the class", "distance"), rows)


def draw(numbers: Numbers, file: Path) -> None:
    figure = Drawing(figsize=(12.5, 7.4), layout="constrained")
    grid = figure.subplots(2, len(WAYS), sharey=True)
    for (row, axis), (column, way) in itertools.product(enumerate(("steps", "evaluations")), enumerate(WAYS)):
        axes = grid[row, column]
        for name, (label, color, marker) in STYLES.items():
            points = [chain for chain in numbers["chains"] if (chain["way"], chain["covariance"]) == (way, name)]
            at = [point[axis] for point in points]
            value, error = ([point["frechet"][key] for point in points] for key in ("value", "stderr"))
            axes.errorbar(
                at, value, 2 * np.array(error), fmt=f"{marker}-", color=color, capsize=3, markersize=5, label=label
            )
        axes.axhline(numbers["exact"]["frechet"]["value"], color="black", linestyle=":", label="exact samples")
        axes.set(xscale="log", yscale="log", xlabel=axis if axis == "steps" else "model evaluations")
        ticks = sorted({chain[axis] for chain in numbers["chains"] if chain["way"] == way})
        ticks = ticks if axis == "steps" else [5, 10, 20, 50, 100, 200]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
        if row == 0:
            axes.set_title(WAYS[way])
        if column == 0:
            axes.set_ylabel("squared Fréchet distance to p(x | y)")
    grid[0, 0].legend(fontsize=9)
    figure.savefig(file, dpi=120)


GUIDANCE = Section(
    "guidance",
    "Classifier guidance",
    "Guidance perturbs every step, and the covariance enters twice: does the full covariance bring the chain nearer to "
    "the class?",
    measure,
    show,
    remarks=(
        "Guidance changes every step, so the whole path matters. At equal steps the full covariance is ahead with the "
        "gradient in the denoiser and at xₜ; with the gradient at the mean the cheaper covariances are.",
        "Against it: at equal evaluations the full covariance is nowhere ahead, trace and diagonal taken as known at "
        "no cost. With the gradient in the denoiser it is as good as exact samples, and so is the diagonal.",
    ),
)
