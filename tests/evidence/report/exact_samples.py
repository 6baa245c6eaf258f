"""Samples of models that are exact, at equal model evaluations: what a sampler gets wrong is all there is to see.

    gaussian   N(0, Q diag(lambda) Q^T) in 1,024 dimensions, lambda_k ~ k^-2 with mean 1/4, as the spectrum of
               pictures falls, Q drawn at random; the distance is the squared Frechet distance of the variances
               along Q's axes, relative to all variance: sum (sqrt(var) - sqrt(lambda))^2 / sum lambda
    mixture    `mixture.separated_mixture`, four Gaussians in eight dimensions; the distance is the energy
               distance (Szekely and Rizzo 2013), without bias

Trajectories start from the exact law of x at their first noise level.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor
from tqdm import tqdm

from .compared import (
    DRAWN,
    FLOOR,
    TOLD,
    Row,
    best,
    draw_lines,
    legend,
    row_table,
    scale_around_zero,
    value,
    verdict,
    with_error,
)
from .metrics import mean_and_error
from .mixture import separated_mixture
from .run import Figure, Findings, Numbers, Run, Section, digest, libraries
from .samplers import FAMILIES, FULL, RIVAL, SAMPLERS, karras_sigmas, present, sample, source

SIGMA_MAX, SIGMA_MIN = 20.0, 0.03
DIMENSION = 1024
METRIC = "distance"
QUICK = ("lanczos-k1", "isotropic", "dpmpp-2m-sde", "dpmpp-2m")
TICKS = (3, 5, 10, 20, 50, 100, 200)


@dataclasses.dataclass(frozen=True)
class Law:
    """Data x_0 of which all is known."""

    name: str
    size: int
    """Samples in a group."""
    exact: Callable[[int, torch.Generator], Tensor]
    """Exact samples of x_0, (count, d)."""
    denoised: Callable[[Tensor, Tensor], Tensor]
    diagonal: Callable[[Tensor, Tensor], Tensor]
    """diag J, what a perfect network for it would give."""
    distance: Callable[[Tensor], float]
    """Of samples (n, d) from the law; none but chance's for exact ones."""


@functools.cache
def gaussian() -> Law:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(DIMENSION, DIMENSION, generator=generator, dtype=torch.float64)).Q.float()
    variances = torch.arange(1, DIMENSION + 1).float() ** -2
    variances *= 0.25 / variances.mean()
    squares = basis.square()

    def exact(count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, DIMENSION, generator=generator) * variances.sqrt() @ basis.T

    def kept(sigma: Tensor) -> Tensor:
        return variances / (variances + sigma[:, None] ** 2)

    def distance(samples: Tensor) -> float:
        found = (samples @ basis).double().square().mean(dim=0)
        return ((found.sqrt() - variances.sqrt()).square().sum() / variances.sum()).item()

    return Law(
        "a Gaussian",
        1000,
        exact,
        lambda x, sigma: (x @ basis * kept(sigma)) @ basis.T,
        lambda x, sigma: kept(sigma) @ squares.T,
        distance,
    )


@functools.cache
def mixture() -> Law:
    law = separated_mixture()
    reference, _ = law.draw(10000, torch.Generator().manual_seed(1))
    own = _within(reference)

    def diagonal(x: Tensor, sigma: Tensor) -> Tensor:
        return law.posterior_covariance(x, sigma).diagonal(dim1=-2, dim2=-1) / sigma[:, None] ** 2

    def distance(samples: Tensor) -> float:
        return 2 * torch.cdist(samples, reference).mean().item() - _within(samples) - own

    return Law("a mixture of four", 5000, lambda *given: law.draw(*given)[0], law.denoised, diagonal, distance)


LAWS = {"gaussian": gaussian, "mixture": mixture}


def _within(points: Tensor) -> float:
    """The mean distance of two different points of (n, d)."""
    return torch.cdist(points, points).sum().item() / (len(points) * (len(points) - 1))


def measured_group(
    law: str, solver: str, options: Mapping[str, Any], steps: int, group: int, fingerprint: str
) -> dict[str, float]:
    """The distance of one group of samples, and the model evaluations that a trajectory took."""
    known, generator = LAWS[law](), torch.Generator().manual_seed(group)
    clean = known.exact(known.size, generator)

    def normal() -> Tensor:
        return torch.randn(clean.shape, generator=generator, dtype=clean.dtype)

    # `sample` starts from its first noise, times the first sigma.
    first = [clean / SIGMA_MAX + normal()]
    learned = known.diagonal if options.get("covariance") == "diagonal-learned" else None
    samples, evaluations = sample(
        solver,
        options,
        known.denoised,
        karras_sigmas(steps, SIGMA_MAX, SIGMA_MIN),
        lambda *_: first.pop() if first else normal(),
        learned,
    )
    return {"evaluations": evaluations, METRIC: known.distance(samples)}


def of_exact_samples(law: str, group: int, fingerprint: str) -> float:
    """The distance of as many exact samples: chance's."""
    known = LAWS[law]()
    return known.distance(known.exact(known.size, torch.Generator().manual_seed(1000 + group)))


def measure(run: Run) -> Numbers:
    steps, groups = ((3, 10), 2) if run.quick else ((3, 5, 10, 20), 5)
    samplers, missing = present(sampler for sampler in SAMPLERS if sampler.id in QUICK or not run.quick)
    formulas = [Path(__file__), Path(__file__).with_name("mixture.py")]
    version, of_product = digest(*formulas), digest(*formulas, *libraries())
    data, rows = {}, []
    with tqdm(total=len(LAWS) * groups * len(steps) * len(samplers), desc="exact models", unit=" groups") as bar:
        for law, known in LAWS.items():
            real = [run.cached(of_exact_samples)(law, group, version) for group in range(groups)]
            data[law] = {"name": known().name, "size": known().size, "real": {METRIC: real}}
            for count in steps:
                for sampler in samplers:
                    found = []
                    for group in range(groups):
                        arguments = law, sampler.solver, dict(sampler.options), count, group
                        mark = of_product if sampler.solver == "lgs" else version
                        if sampler.solver == RIVAL:
                            mark = f"{version} {source(sampler)}"
                        found.append(run.cached(measured_group)(*arguments, mark))
                        bar.update()
                    row = {"data": law, "steps": count, "id": sampler.id, "family": sampler.family}
                    row["source"] = source(sampler)
                    row |= {"name": sampler.name.replace("learned", "known"), "evaluations": found[0]["evaluations"]}
                    rows.append(row | {"groups": {METRIC: [one[METRIC] for one in found]}})
    return {"data": data, "rows": rows, "missing": missing}


def show(numbers: Numbers, folder: Path) -> Findings:
    file = folder / "exact_samples.png"
    draw(numbers, file)
    sentences, tables = [], []
    for law, about in numbers["data"].items():
        rows = [row for row in numbers["rows"] if row["data"] == law]
        sentences += [text for budget in TOLD if (text := at_budget(about["name"], rows, budget))]
        tables.append(row_table(f"{capitalised(about['name'])}: everything that was measured", about, rows, [METRIC]))
    sentences += [f"Missing: {one['what']}: {one['why']}." for one in numbers.get("missing", ())]
    sizes = ", ".join(f"{about['size']:,} ({about['name']})" for about in numbers["data"].values())
    groups = len(numbers["rows"][0]["groups"][METRIC])
    caption = (
        f"Mean and standard error over {groups} groups of samples: {sizes}. Less is better; dotted: as many exact "
        "samples. The known diagonal costs nothing here, as if a perfect network had learnt it; in a random basis "
        "a Gaussian's is nearly constant."
    )
    return Findings(sentences, [Figure(file, "Samples of exact models against model evaluations", caption)], tables)


def capitalised(name: str) -> str:
    return name[:1].upper() + name[1:]


def at_budget(name: str, rows: list[Row], budget: int) -> str | None:
    """The full covariance's best within a budget, beside the best of each other family."""
    full = best(rows, FULL, budget, METRIC)
    others = [other for family in FAMILIES if family != FULL and (other := best(rows, family, budget, METRIC))]
    if full is None or not others:
        return None
    words = {1: "better than", 0: "level with", -1: "worse than"}

    def told(row: Row) -> str:
        mean, error = value(row, METRIC)
        return f"{row['name']}, {row['steps']} steps: {with_error(mean, error)}"

    judged = "; ".join(f"{words[verdict(full, other, METRIC)]} {told(other)}" for other in others)
    of = f"{capitalised(name)}, at most {budget} model evaluations, the best of each family"
    return f"{of}: {told(full)}. It is {judged}."


def draw(numbers: Numbers, file: Path) -> None:
    canvas = Canvas(figsize=(10.8, 6.2), layout="constrained")
    panels = canvas.subplots(1, len(numbers["data"]))
    for panel, (law, about) in zip(panels, numbers["data"].items(), strict=True):
        rows = [row for row in numbers["rows"] if row["data"] == law and row["id"] in DRAWN]
        real, error = mean_and_error(about["real"][METRIC])
        panel.axhline(real, color=FLOOR, linestyle=":", linewidth=1.5)
        draw_lines(panel, rows, "evaluations", METRIC)
        panel.set_xscale("log")
        panel.set_xticks([tick for tick in TICKS if tick <= max(row["evaluations"] for row in rows)])
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xlabel("model evaluations")
        panel.set_title(f"exact model of {about['name']}", fontsize=10)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        if law == "gaussian":
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_minor_locator(NullLocator())
            panel.set_ylabel("relative squared Fréchet distance")
        else:
            scale_around_zero(panel, [value(row, METRIC) for row in rows], real - (error or 0))
            panel.set_ylabel("energy distance")
        panel.yaxis.set_major_formatter("{x:g}")
    legend(canvas, panels[0])
    canvas.savefig(file, dpi=140)


SECTION = Section(
    id="exact_samples",
    title="Samples of exact models, at equal model evaluations",
    question="Where the model makes no error, so that only the sampler's is left: is the full covariance worth "
    "its products, "
    "compared with cheaper covariances and with the usual solvers?",
    measure=measure,
    show=show,
    remarks=(
        "For LGS: on the Gaussian it is ahead of every other stochastic sampler and covariance at both budgets; on the "
        "mixture it is ahead of everything at the smaller one, and of other stochastic samplers at the larger one.",
        "Against it: DPM-Solver++(2M), which is deterministic and needs no products, is as good on both laws at the "
        "larger budget, and on the Gaussian at the smaller one. With fewer evaluations still, it and its SDE are ahead "
        "on the Gaussian, as they have more steps.",
        "K = 1 is enough; K = 3 is worth its evaluations on the Gaussian alone. Lanczos in part, with products in "
        "a part of the steps, needs more steps on the Gaussian than on the mixture. Its share of the multistep "
        "correction was chosen with laws like these in sight, so its rows are no test of it.",
    ),
)
