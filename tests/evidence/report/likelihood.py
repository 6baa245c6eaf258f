"""How likely held-out pictures are with each covariance of the reverse kernels, in bits per dimension.

As in the tables of Analytic-DPM (arXiv 2201.06503) and OCM-DDPM (arXiv 2406.10808): the bound of `bound`,
of trained networks without labels, over the noise levels of the report's samples.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path

import matplotlib.figure
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor
from tqdm import tqdm

from evidence.demo.job import karras_sigmas
from evidence.models import learned_diagonal, weights
from evidence.models.data import DATA_SETS
from lgs.diagonal import load_diagonal
from lgs.digits import UNLABELLED, Digits

from . import bound, mixture, quadrature
from .bound import Cost, Jacobian, costs, decoder, exact_costs, jacobian, linearised, prior
from .run import Figure, Findings, Numbers, Run, Section, Table, digest

COVARIANCES = {
    "isotropic-large": "isotropic, σₜ² − σₛ²",
    "isotropic": "isotropic, v",
    "isotropic-optimal": "isotropic, trace-matched",
    "spectral": "spectral, octaves of tiles",
    "diagonal-learned": "diagonal in pixels, learned",
    "diagonal": "diagonal in pixels",
    "full": "full",
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is measured of a data set."""

    data: str
    images: int
    chunk: int
    """Images at a time: what is done again after an interruption is at most one chunk."""
    evaluations: tuple[int, ...]
    """T, evaluations of D in a trajectory: T - 1 steps, and the decoder at the last noise level. Products with J are
    not among them."""
    probes: tuple[int, int]
    """For each image and step: for diagonals, for traces."""
    written_out: int = 0
    """Images for which J is written out, too, to see what the probes do."""


PLANS = (
    Plan("digits", images=100, chunk=20, evaluations=(5, 10, 20, 50), probes=(64, 2), written_out=4),
    Plan("cifar", images=32, chunk=8, evaluations=(5, 10, 20), probes=(32, 2)),
)
QUICK = (Plan("digits", images=4, chunk=4, evaluations=(5, 10), probes=(8, 2)),)
WRITTEN_OUT_AT, WRITTEN_OUT_COST = 5, 100
"""T of the chain with J written out, and what an image of it costs, in steps of the others."""


@functools.lru_cache(maxsize=1)
def held_out(data: str) -> Tensor:
    """Held-out images, in the order in which they are used: by chance, as the digits are sorted."""
    images, _ = DATA_SETS[data].held_out()
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]


def denoiser(data: str) -> Digits:
    """D(x, sigma) of the trained model, without labels."""
    return Digits(DATA_SETS[data].trained(weights(data)), torch.tensor([UNLABELLED]))


def noised(
    images: Tensor, evaluations: int, generator: torch.Generator
) -> Iterator[tuple[tuple[float, float], Tensor]]:
    """(sigma_t, sigma_s) and x_t of each step, and last (sigma_1, 0) and x_1; every x_t has noise of its own."""
    for sigmas in itertools.pairwise(karras_sigmas(evaluations).tolist()):
        yield sigmas, images + sigmas[0] * torch.randn(images.shape, generator=generator)


def terms(data: str, evaluations: int, first: int, count: int, probes: tuple[int, int], files: str) -> Numbers:
    """Terms of the bound, in nats, of `count` held-out images from the `first`; `files` is their `digest`.

    "kl" and "fit": of each covariance, of each step, of each image; "probes": variance of the full kl;
    "prior" and "decoder": of each image.
    """
    images, denoise = held_out(data)[first : first + count], denoiser(data)
    diagonal = load_diagonal(learned_diagonal(data)) if learned_diagonal(data).exists() else None
    generator = torch.Generator().manual_seed(first)
    found: Numbers = {
        "kl": {},
        "fit": {},
        "probes": [],
        "prior": prior(images, karras_sigmas(evaluations)[0].item()).tolist(),
    }
    for sigmas, x in noised(images, evaluations, generator):
        if sigmas[1] == 0:
            with torch.no_grad():
                mean = denoise(x, x.new_full((count,), sigmas[0]))
            found["decoder"] = decoder(images, mean, sigmas[0]).tolist()
            continue
        denoised, at = linearised(denoise, x, sigmas[0])
        learned = diagonal and diagonal(x, x.new_full((count,), sigmas[0]))
        each, variance = costs(images - denoised, sigmas, at, probes, generator, learned)
        for name, cost in each.items():
            found["kl"].setdefault(name, []).append(cost.kl.tolist())
            found["fit"].setdefault(name, []).append(cost.fit.tolist())
        found["probes"].append(variance.tolist())
    return found


def written_out(data: str, evaluations: int, image: int, probes: tuple[int, int], files: str) -> Numbers:
    """kl of one image, in nats, of each covariance of each step: with J written out ("exact"), from probes
    ("probed", mean of ten draws), and with J v for (J v + J'v) / 2 in the Lanczos steps ("plain"). "clamped": by
    what factor clamping the negative eigenvalues raises tr J, at each step.
    """
    picture, denoise = held_out(data)[image : image + 1], denoiser(data)
    ways: Numbers = {"exact": {}, "probed": {}, "plain": {}, "clamped": []}

    def note(way: str, found: dict[str, Cost]) -> None:
        for name, cost in found.items():
            ways[way].setdefault(name, []).append(cost.kl.mean().item())

    for sigmas, x in noised(picture, evaluations, torch.Generator().manual_seed(image)):
        if sigmas[1] > 0:
            j, error = jacobian(denoise, x, sigmas[0]), picture - denoise(x, x.new_full((1,), sigmas[0]))
            note("exact", exact_costs(error, sigmas, j))
            theta = torch.linalg.eigvalsh((j + j.T).double() / 2)
            ways["clamped"].append((theta.clamp_min(0).sum() / theta.sum()).item())
            draws = error.expand(10, *error.shape[1:])
            for way, matrix in (("probed", (j + j.T) / 2), ("plain", j)):
                at = Jacobian(lambda v, m=j: v @ m, lambda v, m=matrix: v @ m.T)
                # The same probes for both, and others than the noise is made of.
                note(way, costs(draws, sigmas, at, probes, torch.Generator().manual_seed(1000 + image))[0])
    return ways


def available(plans: tuple[Plan, ...]) -> tuple[list[Plan], list[str]]:
    """What can be measured on this machine, and what is missing for the rest."""
    found, absent = [], []
    for plan in plans:
        if not weights(plan.data).exists():
            absent.append(
                f"{plan.data}: not measured, as there is no {weights(plan.data).name} beside the other models' weights."
            )
            continue
        try:
            held_out(plan.data)
        except (OSError, RuntimeError, subprocess.SubprocessError) as problem:
            absent.append(f"{plan.data}: not measured, because its images are not available: {problem}.")
            continue
        found.append(plan)
        if not learned_diagonal(plan.data).exists():
            absent.append(
                f"{plan.data}: without a learned diagonal, as there is no {learned_diagonal(plan.data).name}."
            )
    return found, absent


def files_of(data: str) -> str:
    """A name for what the terms depend on: the models, and the code."""
    trained = [file for file in (weights(data), learned_diagonal(data)) if file.exists()]
    return digest(*trained, *(Path(module.__file__) for module in (bound, mixture, quadrature)))


def measure(run: Run) -> Numbers:
    """Rows "bounds", one for each data set, T and covariance; "steps", one for each step, too; "written_out"."""
    plans, absent = available(QUICK if run.quick else PLANS)
    numbers: Numbers = {"bounds": [], "steps": [], "written_out": [], "absent": absent}
    total = sum(plan.images * sum(plan.evaluations) + plan.written_out * WRITTEN_OUT_COST for plan in plans)
    with tqdm(total=total, desc="likelihood", unit=" image steps") as progress:
        for plan in plans:
            files, about = files_of(plan.data), {"data": plan.data, "dimension": held_out(plan.data)[0].numel()}
            for evaluations in plan.evaluations:
                chunks = []
                for first in range(0, plan.images, plan.chunk):
                    count = min(plan.chunk, plan.images - first)
                    chunks.append(run.cached(terms)(plan.data, evaluations, first, count, plan.probes, files))
                    progress.update(count * evaluations)
                of = about | {"T": evaluations, "images": plan.images}
                numbers["bounds"] += bounds(of, chunks)
                numbers["steps"] += steps(of, chunks)
                run.so_far(numbers)
            images = []
            for image in range(plan.written_out):
                images.append(run.cached(written_out)(plan.data, WRITTEN_OUT_AT, image, plan.probes, files))
                progress.update(WRITTEN_OUT_COST)
            if images:
                of = about | {"T": WRITTEN_OUT_AT, "images": len(images)}
                numbers["written_out"] += differences(of, images)
    return numbers


def joined(chunks: list[Numbers], *keys: str) -> Tensor:
    """Of all images, which are the last axis."""
    return torch.cat([torch.tensor(functools.reduce(dict.__getitem__, keys, chunk)).double() for chunk in chunks], -1)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean of values (n,), and its standard error."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


def bounds(about: dict, chunks: list[Numbers]) -> list[dict]:
    """Of each covariance the bound, what it is more than the full one's, image by image, and both's standard errors."""
    bits = about["dimension"] * math.log(2)
    same = {name: joined(chunks, name) / bits for name in ("prior", "decoder")}
    chain = {name: joined(chunks, "kl", name).sum(dim=0) / bits for name in chunks[0]["kl"]}
    rows = []
    for name, values in chain.items():
        total, error = mean_and_error(values + same["prior"] + same["decoder"])
        more, more_error = mean_and_error(values - chain["full"])
        rows.append(about | {"covariance": name, "bits": total, "error": error, "more": more, "more_error": more_error})
        rows[-1] |= {"chain": values.mean().item()} | {of: values.mean().item() for of, values in same.items()}
        if name == "full":
            rows[-1]["probe_error"] = joined(chunks, "probes").sum().sqrt().item() / about["images"] / bits
    return rows


def steps(about: dict, chunks: list[Numbers]) -> list[dict]:
    """Of each covariance and step what the step costs, what that is more than the full one's, and how the covariance
    fits, with standard errors."""
    rows, bits = [], about["dimension"] * math.log(2)
    sigmas = list(itertools.pairwise(karras_sigmas(about["T"]).tolist()))[:-1]
    full = joined(chunks, "kl", "full")
    for name in chunks[0]["kl"]:
        kls, fits = (joined(chunks, term, name) for term in ("kl", "fit"))
        for levels, kl, of_full, fit in zip(sigmas, kls, full, fits, strict=True):
            row = about | {"covariance": name, "sigma": levels[0], "sigma_next": levels[1]}
            row["bits"], row["error"] = mean_and_error(kl / bits)
            row["more"], row["more_error"] = mean_and_error((kl - of_full) / bits)
            row["fit"], row["fit_error"] = mean_and_error(fit)
            rows.append(row)
    return rows


def differences(about: dict, ways: list[Numbers]) -> list[dict]:
    """Of each covariance the steps' bits per dimension with J written out, and what is added to them by the probes
    and by J v in the place of (J v + J'v) / 2, with standard errors over the images."""
    rows, bits = [], about["dimension"] * math.log(2)
    for name in ways[0]["exact"]:
        of = {
            way: torch.tensor([sum(image[way][name]) for image in ways]).double() / bits
            for way in ("exact", "probed", "plain")
        }
        full = torch.tensor([sum(image["exact"]["full"]) for image in ways]).double() / bits
        row = {"covariance": name, "exact": of["exact"].mean().item()}
        row["more"], row["more_error"] = mean_and_error(of["exact"] - full)
        row["probes"], row["probes_error"] = mean_and_error(of["probed"] - of["exact"])
        row["plain"], row["plain_error"] = mean_and_error(of["plain"] - of["probed"])
        if name == "full":
            row["clamped"] = torch.tensor([image["clamped"] for image in ways]).mean(dim=0).tolist()
        rows.append(about | row)
    return rows


STYLES = {
    "isotropic-large": ("#999999", "v"),
    "isotropic": ("#E69F00", "s"),
    "isotropic-optimal": ("#56B4E9", "^"),
    "spectral": ("#CC79A7", "P"),
    "diagonal-learned": ("#D55E00", "X"),
    "diagonal": ("#009E73", "D"),
    "full": ("#000000", "o"),
}
"""Colours of Okabe and Ito, which those who do not see all colours tell apart, and markers."""
STEPS_AT = 10
"""T of which single steps are shown."""


def show(numbers: Numbers, folder: Path) -> Findings:
    sentences, figures, tables = [], [], []
    for data, group in itertools.groupby(numbers["bounds"], lambda row: row["data"]):
        rows = list(group)
        sentences += compared(data, rows)
        sentences += step_by_step(data, [row for row in numbers["steps"] if row["data"] == data])
        file = folder / f"likelihood_{data}.png"
        plot_bounds(rows, file)
        caption = (
            f"Left: negative log-likelihood bound of {rows[0]['images']} held-out images in {rows[0]['dimension']} "
            "dimensions. Right: how much of it is lost by each other covariance, image by image, so that what "
            "makes one image harder than another drops out. T is evaluations of D; products with J come on top, but "
            "for the learned covariance and those isotropic ones that are not matched. Bars: two standard errors over "
            "images."
        )
        figures.append(Figure(file, f"Bits per dimension of {data}; less is better", caption))
        single = [row for row in numbers["steps"] if (row["data"], row["T"]) == (data, STEPS_AT)]
        if single:
            sentences.append(fitting(data, single))
            file = folder / f"likelihood_steps_{data}.png"
            plot_steps(single, file)
            caption = (
                "Left: what each step costs, by the noise level at which it starts. Middle: the same, relative to the "
                "full covariance's, image by image, without the largest isotropic one. Right: the spread of what is to "
                "be explained, measured by the covariance; above 1 it claims to know more than it does, below 1 less. "
                "Bars: two standard errors over images."
            )
            figures.append(Figure(file, f"Single steps of {data}, T = {STEPS_AT}", caption))
        tables.append(bounds_table(data, rows))
    if numbers["written_out"]:
        sentences += checked(numbers["written_out"])
        tables.append(written_out_table(numbers["written_out"]))
    return Findings(sentences + numbers["absent"], figures, tables)


def by_evaluations(rows: list[dict]) -> Iterator[tuple[int, dict[str, dict]]]:
    """T, and its rows by covariance."""
    for evaluations, group in itertools.groupby(rows, lambda row: row["T"]):
        yield evaluations, {row["covariance"]: row for row in group}


def compared(data: str, rows: list[dict]) -> list[str]:
    """The full covariance with the others, T by T, whichever is ahead."""
    sentences = []
    for evaluations, of in by_evaluations(rows):
        others = [row for name, row in of.items() if name != "full"]
        best = min(others, key=lambda row: row["bits"])
        difference = f"{abs(best['more']):.4f} ± {best['more_error']:.4f}"
        verdict = (
            f"{difference} fewer than with" if best["more"] > 2 * best["more_error"] else
            f"{difference} more than with" if best["more"] < -2 * best["more_error"] else
            f"not distinguishable, by {difference}, from"
        )  # fmt: skip
        optimal, full = of["isotropic-optimal"], of["full"]
        sentences.append(
            f"{data}, T = {evaluations}: {full['bits']:.3f} ± {full['error']:.3f} bits per dimension with the full "
            f"covariance (its probes alone: ± {full['probe_error']:.4f}), {verdict} the best of the others, "
            f"{COVARIANCES[best['covariance']]}; the isotropic "
            f"trace-matched one costs {optimal['more']:.3f} ± {optimal['more_error']:.3f} more."
        )
    row = rows[0]
    sentences.append(
        f"{data}: of these bits {row['decoder']:.3f} (at T = {row['T']}) are the discrete decoder's, N(D, σ₁² I) "
        f"integrated over the bins of 256 levels at σ₁ = {karras_sigmas(2)[1]:g}, and {row['prior']:.4f} the prior's, "
        f"N(0, σ² I) at σ = {karras_sigmas(2)[0]:g}; both are the same for every covariance. Figures compare with "
        "each other, for these noise levels, not with published ones."
    )
    return sentences


def step_by_step(data: str, rows: list[dict]) -> list[str]:
    """Where the full covariance gains and loses against the diagonal one, for each T."""
    sentences = []
    for evaluations, group in itertools.groupby(rows, lambda row: row["T"]):
        diagonal = [row for row in group if row["covariance"] == "diagonal"]
        lost = [row for row in diagonal if row["more"] < -2 * row["more_error"]]
        gained = max(diagonal, key=lambda row: row["more"])
        where = ", ".join(f"{abs(row['more']):.4f} ± {row['more_error']:.4f} at σ {between(row)}" for row in lost)
        sentences.append(
            f"{data}, T = {evaluations}, step by step against the diagonal in pixels: the full covariance gains most, "
            f"{gained['more']:.4f} ± {gained['more_error']:.4f}, at σ {between(gained)}; it loses, beyond two standard "
            "errors, " + (f"{where}." if lost else "in no step.")
        )
    return sentences


def between(row: dict) -> str:
    """The noise levels of a step."""
    return f"{row['sigma']:.3g} → {row['sigma_next']:.3g}"


def fitting(data: str, rows: list[dict]) -> str:
    """Whether the full covariance is as large as it should be."""
    of = {name: [row for row in rows if row["covariance"] == name] for name in ("full", "diagonal")}
    off = max(of["full"], key=lambda row: abs(math.log(row["fit"])))
    diagonal = next(row for row in of["diagonal"] if row["sigma"] == off["sigma"])
    return (
        f"{data}, T = {STEPS_AT}: if Σ had the right size, v tr Σ⁻¹ + eᵀ Σ⁻¹ e would be d. The full covariance is "
        f"furthest from it at σ = {off['sigma']:.3g}, {off['fit']:.3f} d ± {off['fit_error']:.3f}; the "
        f"diagonal one has {diagonal['fit']:.3f} d ± {diagonal['fit_error']:.3f} there."
    )


def checked(rows: list[dict]) -> list[str]:
    """What the estimates of the probes are worth."""
    of = {row["covariance"]: row for row in rows}
    about, full, diagonal = rows[0], of["full"], of["diagonal"]
    added = ", ".join(
        f"{row['probes']:+.4f} ± {row['probes_error']:.4f} ({COVARIANCES[name]})" for name, row in of.items()
    )
    return [
        f"Probes, {about['data']}, T = {about['T']}, {about['images']} images with J written out: they add {added} "
        f"bits per dimension to the steps' cost. Without them the diagonal in pixels costs {diagonal['more']:+.4f} ± "
        f"{diagonal['more_error']:.4f} against the full covariance on these images. A diagonal's noise makes "
        "its bound worse than it is; what is added "
        "to the full one's is due to the number of Lanczos steps.",
        "J of a trained network is not symmetric; Σ has its symmetric part. With J v in the Lanczos steps, as the "
        f"sampler has it, the same estimate is {full['plain']:+.4f} ± {full['plain_error']:.4f} bits per dimension "
        "away, and no bound.",
        "Nor is it positive semidefinite: clamping its negative eigenvalues multiplies tr J by "
        f"{full['clamped'][0]:.2f} at the first noise level and by {full['clamped'][-1]:.2f} at the last that a step "
        "starts from, so that Σ is too large where J is most of it.",
    ]


def bounds_table(data: str, rows: list[dict]) -> Table:
    columns = list(by_evaluations(rows))
    body = []
    for name in [name for name in COVARIANCES if name in columns[0][1]]:
        cells = (f"{of[name]['bits']:.3f} ± {of[name]['error']:.3f} ({of[name]['more']:+.3f})" for _, of in columns)
        body.append((COVARIANCES[name], *cells))
    title = f"Bits per dimension of {data} ± one standard error (more than with the full covariance)"
    return Table(title, ("covariance", *(f"T = {evaluations}" for evaluations, _ in columns)), body)


def written_out_table(rows: list[dict]) -> Table:
    about = rows[0]
    body = [
        (
            COVARIANCES[row["covariance"]],
            f"{row['exact']:.4f}",
            f"{row['probes']:+.4f} ± {row['probes_error']:.4f}",
            f"{row['plain']:+.4f} ± {row['plain_error']:.4f}",
        )
        for row in rows
    ]
    title = f"Steps of {about['images']} images, T = {about['T']}, bits per dimension, with J written out"
    return Table(title, ("covariance", "exact", "added by the probes", "added by J v for (J v + Jᵀv) / 2"), body)


def plot_bounds(rows: list[dict], file: Path) -> None:
    """Bits per dimension against T, and what each covariance costs more than the full one, as a PNG."""
    figure = matplotlib.figure.Figure(figsize=(11, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, mine in by_covariance(rows):
        draw(left, name, [(row["T"], row["bits"], row["error"]) for row in mine])
        if name != "full":
            draw(right, name, [(row["T"], row["more"], row["more_error"]) for row in mine])
    same = [row for row in rows if row["covariance"] == "full"]
    left.plot(*zip(*((row["T"], row["decoder"] + row["prior"]) for row in same), strict=True), "k:", linewidth=1)
    left.annotate("of it decoder and prior", (same[0]["T"], same[0]["decoder"]), (0, -12), textcoords="offset points")
    right.axhline(0, color="black", linewidth=2)
    lost = [row["more"] for row in rows]
    left.set(yscale="log", ylabel="bits per dimension", title="Bound on the negative log-likelihood")
    right.set(ylabel="bits per dimension", title="More than with the full covariance (black)")
    right.set_yscale("symlog", linthresh=0.01)
    right.set_ylim(min(-0.01, 2 * min(lost)), 2 * max(lost))
    ticks = sorted({row["T"] for row in rows})
    for axes in (left, right):
        axes.set(xscale="log", xlabel="T: T − 1 steps and the decoder, products not counted")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
    finish(figure, left, file)


def plot_steps(rows: list[dict], file: Path) -> None:
    """Cost of each step, what it is of the full one's, and fit, over sigma, as a PNG."""
    figure = matplotlib.figure.Figure(figsize=(15, 5.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    full = {row["sigma"]: row["bits"] for row in rows if row["covariance"] == "full"}
    for name, mine in by_covariance(rows):
        draw(left, name, [(row["sigma"], row["bits"], row["error"]) for row in mine])
        draw(right, name, [(row["sigma"], row["fit"], row["fit_error"]) for row in mine])
        # Several hundred times as much: it would make one line of the others.
        if name != "isotropic-large":
            each = [
                (row["sigma"], *(part / full[row["sigma"]] for part in (row["more"], row["more_error"])))
                for row in mine
            ]
            draw(middle, name, [(sigma, 1 + more, error) for sigma, more, error in each])
    right.axhline(1, color="black", linewidth=0.8)
    left.set(yscale="log", ylabel="bits per dimension", title="Cost of the step")
    middle.set(ylabel="times the full covariance's", title="The same, relative to the full covariance")
    right.set(yscale="log", ylabel="(v tr Σ⁻¹ + eᵀ Σ⁻¹ e) / d", title="Fit: 1 is right, more is too sure")
    for axes in (left, middle, right):
        axes.set(xscale="log", xlabel="σ at which the step starts")
        axes.xaxis.set_major_formatter("{x:g}")
    finish(figure, left, file)


def by_covariance(rows: list[dict]) -> Iterator[tuple[str, list[dict]]]:
    """Each covariance that there is, and its rows."""
    for name in COVARIANCES:
        if mine := [row for row in rows if row["covariance"] == name]:
            yield name, mine


def draw(axes: Axes, name: str, points: list[tuple[float, float, float]]) -> None:
    """A line of one covariance, with bars of two standard errors; points are place, value and standard error."""
    color, marker = STYLES[name]
    # A little apart, so that the bars can be told apart.
    aside = 1 + 0.012 * (list(COVARIANCES).index(name) - len(COVARIANCES) / 2)
    places, values, errors = zip(*points, strict=True)
    axes.errorbar(
        [place * aside for place in places],
        values,
        [2 * error for error in errors],
        label=COVARIANCES[name],
        color=color,
        marker=marker,
        markersize=5,
        linewidth=2 if name == "full" else 1.2,
        capsize=3,
    )


def finish(figure: matplotlib.figure.Figure, labelled: Axes, file: Path) -> None:
    """Plain numbers on the axes, one legend for all panels, and the PNG."""
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        if axes.get_yscale() == "log":
            low, high = axes.get_ylim()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
    figure.legend(*labelled.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=110)


SECTION = Section(
    "likelihood",
    "Likelihood of held-out images",
    "In how many bits per dimension does the reverse process describe images that it was not trained on, and "
    "which covariance makes them fewest?",
    measure,
    show,
    remarks=(
        "For the full covariance: it needs the fewest bits at every T, on photographs by far.",
        "Against it: digits are white strokes on black, so that pixels are nearly the right axes; there the "
        "diagonal is almost as good, and at the lowest noise levels better.",
        "This measures the covariance itself (many probes, quadrature, the symmetric part of J), and not what a "
        "sampler makes of one product.",
    ),
)
