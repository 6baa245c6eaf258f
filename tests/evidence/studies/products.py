"""The study of Jacobian-vector products behind the engine's rule for how far a finite difference reaches.

    study = product_study(quick=False)
    print(describe(study)); plot(study, file)

"steps" is about the step alone: finite differences in plain PyTorch, over the step's length, against exact
products. "chosen" is what the plugin gives by its own rule, and its price; "noise" what becomes of it in the noise
of a reverse step; "pictures" in the distribution that is sampled.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure as Canvas
from torch import Tensor
from tqdm import tqdm

import lgs
from evidence.demo.job import karras_sigmas, labels
from evidence.models.distance import HeldOut
from evidence.report.run import Figure, Findings, Numbers, Run, Section, Table
from evidence.threads import one_thread

from .networks import Case, Model, Point, bundled, digits, error, forward_mode, levels, models, norm, points

FRACTIONS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.25, 0.3, 0.5)
"""h in units of sigma sqrt(d), v being of length 1: how far x moves per number, in units of sigma."""

QUICK_FRACTIONS = (3e-3, 1e-2, 0.1, 0.2, 0.25, 0.3)
"""Where an evaluation takes long."""

STEPS = """Relative error of J v by finite differences, at the plugin's own h / (sigma sqrt(d) reach) and the best one;
v1 is white noise, v2 the second Krylov vector. Reference: forward mode of the model in float64."""
CHOSEN = "Relative error of lgs.jvp; its price with D(x), in evaluations."
NOISE = "Bundled digits: relative error of lgs.reverse_noise from sigma to sigma / 2 with K products."
PICTURES = "Bundled digits, 10 steps, K = 1: distances to real digits, and (relative) from the first row's pictures."

KINDS = ("forward", "finite-difference", "central-difference", "auto")
DIFFERENCES = {"one-sided": "finite-difference", "central": "central-difference"}
"""By its name in the study, its option's."""


def product_study(quick: bool) -> dict:
    """Rows of plain numbers and texts under "steps", "chosen", "noise" and "pictures"."""
    study = {"steps": [], "chosen": []}
    with torch.no_grad(), one_thread():
        for model in tqdm(models(), desc="Jacobian-vector products", total=4, leave=False):
            at = points(model, _fewer(model.sigmas) if quick else model.sigmas)
            for dtype in tqdm(model.dtypes, desc=model.name, leave=False):
                seen, items = at[1::2] if dtype == "float16" else at, _items(model, dtype, quick)
                case = Case(model, dtype, items, model.build(getattr(torch, dtype), items))
                fractions = QUICK_FRACTIONS if dtype == "float16" or (quick and items == 2) else FRACTIONS
                study["steps"] += [row for point in seen for row in _steps(case, point, fractions)]
                if not (quick and dtype == "float16"):
                    study["chosen"] += _chosen(case, seen, 1 if quick else 2)
        study["noise"] = _noise(bundled(), quick)
    return study | {"pictures": _pictures(1, 1) if quick else _pictures(10, 10)}


def _fewer(sigmas: tuple[float, ...]) -> tuple[float, ...]:
    """For a quick look: of the bundled model three, of the slower ones one."""
    return sigmas[1::2] if len(sigmas) > 5 else sigmas[3:4]


def _items(model: Model, dtype: str, quick: bool) -> int:
    """Fewer where convolutions are slow: CPUs emulate float16, and most of them bfloat16, at some thirty times the
    price."""
    return min(len(model.x0), {"float16": 2, "bfloat16": 2 if quick else 20}.get(dtype, 20))


@functools.cache
def rule(difference: str, dtype: str) -> float:
    """The plugin's own fraction, as seen by a model that it differentiates."""
    moved, x = [], torch.zeros(1, 1024)

    def model(at: Tensor, sigma: Tensor) -> Tensor:
        moved.append(at.norm().item() / x.numel() ** 0.5)
        return 0.5 * at

    lgs.jvp(model, x, 1.0, torch.ones_like(x), {"jvp": DIFFERENCES[difference], "precision": dtype})
    return float(f"{max(moved):.2g}")


def _steps(case: Case, point: Point, fractions: tuple[float, ...]) -> list[dict]:
    """The error of finite differences in plain PyTorch, and that of forward mode."""
    rows = []
    for vector, name in enumerate(("v1", "v2")):
        x, v, expected = case.exact(point, vector)
        evaluate = lambda at: case.denoise(at.float(), levels(at.float(), point.sigma)).double()  # noqa: E731
        reach = point.reach[: len(v)].view(norm(v).shape) if vector else torch.ones_like(norm(v))
        row = case.row(point, vector=name, reach=reach.mean().item())
        product = forward_mode(case.denoise, x.float(), point.sigma, v.float())
        rows.append(row | {"difference": "forward", "fraction": None, "error": error(product, expected), "rule": False})
        middle = evaluate(x)
        for fraction in sorted({*fractions, *(rule(difference, case.dtype) for difference in DIFFERENCES)}):
            h = fraction * point.sigma * x[0].numel() ** 0.5 * reach
            ahead, behind = evaluate(x + h * v), evaluate(x - h * v)
            products = {"one-sided": (ahead - middle) / h, "central": (ahead - behind) / (2 * h)}
            for difference, product in products.items():
                found = {"difference": difference, "fraction": fraction, "error": error(product, expected)}
                rows.append(row | found | {"rule": fraction == rule(difference, case.dtype)})
    return rows


def _chosen(case: Case, at: list[Point], rounds: int) -> list[dict]:
    """The error of `lgs.jvp` from high noise to low, as on a trajectory; what ``auto`` finds out on the first point
    holds for all. Price: that of D(x) and J v in evaluations, the median of neighbouring pairs."""
    rows = []
    options = {"precision": case.dtype, "process": case.model.process}
    for jvp in KINDS:
        ours, found, pairs, took = functools.partial(case.denoise), [], [], []  # an object of its own, for auto
        for point in reversed(at):
            x, v, expected = case.exact(point, 0)
            x, v = x.float(), v.float()
            product = functools.partial(lgs.jvp, ours, x, point.sigma, v, options | {"jvp": jvp})
            bare = functools.partial(case.denoise, x, levels(x, point.sigma))
            if not found:
                product(), bare()
            timed = [(_timed(product), _timed(bare)) for _ in range(rounds)]
            pairs += [mine / other for (_, mine), (_, other) in timed]
            found.append(case.row(point, jvp=jvp, error=error(timed[0][0][0][1], expected)))
        # A trajectory tells which it is; at this tolerance one product is enough.
        told, sigmas = options | {"jvp": jvp, "tolerance": 1.0}, [point.sigma, point.sigma / 2]
        lgs.sample(ours, x, sigmas, told, callback=lambda step, took=took: took.append(step["jvp"]))
        rows += [row | {"took": took[-1], "price": statistics.median(pairs)} for row in found]
    return rows


def _timed(work: Callable) -> tuple[object, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _noise(model: Model, quick: bool) -> list[dict]:
    """The error of Sigma^(1/2) z of a step from sigma to sigma/2, against the float64 model with the same K."""
    rows = []
    at = points(model, (3.0,) if quick else model.sigmas)
    exact = model.build(torch.float64, len(model.x0))
    for point in tqdm(at, desc="noise of a step", leave=False):
        z = point.vectors[0] * point.x[0].numel() ** 0.5
        for steps in (1, 2, 3):
            step = {"lanczos_steps": steps}
            arguments = point.sigma, point.sigma / 2
            expected = lgs.reverse_noise(exact, point.x, *arguments, z, step | {"jvp": "forward"})
            for dtype in model.dtypes:
                items = _items(model, dtype, quick)
                if dtype == "float16" and (quick or steps == 2 or point.sigma not in (0.2, 3.0)):
                    continue
                denoise = model.build(getattr(torch, dtype), items)
                for jvp in KINDS:
                    options = step | {"jvp": jvp, "precision": dtype}
                    came = lgs.reverse_noise(denoise, point.x[:items].float(), *arguments, z[:items].float(), options)
                    row = {"dtype": dtype, "sigma": point.sigma, "jvp": jvp, "lanczos_steps": steps}
                    rows.append(row | {"error": error(came, expected[:items])})
    return rows


SAMPLERS = {
    "float32, forward": ("float32", {"jvp": "forward"}),
    "bfloat16, forward": ("bfloat16", {"jvp": "forward"}),
    "bfloat16, finite-difference": ("bfloat16", {"jvp": "finite-difference"}),
    "bfloat16, central-difference": ("bfloat16", {"jvp": "central-difference"}),
    "bfloat16, isotropic": ("bfloat16", {"covariance": "isotropic"}),
}


def _pictures(batches: int, per_digit: int) -> list[dict]:
    """Labelled digits in 10 Karras steps, K = 1, so many of each in a batch: their distances to real ones, and how far
    they are from those of the first sampler."""
    sigmas, asked, held_out, rows = karras_sigmas(10), labels(per_digit), HeldOut(), []
    for name, (dtype, options) in tqdm(SAMPLERS.items(), desc="pictures", leave=False):
        denoise = digits(getattr(torch, dtype), len(asked))
        images = []
        for batch in range(batches):
            generator = torch.Generator().manual_seed(batch)
            draw = lambda *_sigmas, g=generator: torch.randn(len(asked), 1, 32, 32, generator=g)  # noqa: E731
            x = draw() * sigmas[0]
            options = {"precision": dtype, "lanczos_steps": 1} | options
            images.append(lgs.sample(denoise, x, sigmas, options, noise=draw))
        images = torch.cat(images).clamp(-1, 1)
        if not rows:
            first = images
        found = held_out.distances(images, asked.repeat(batches))
        rows.append({"name": name, "images": len(images), "frechet": found.frechet, "kernel": found.kernel})
        rows[-1] |= {"as_requested": found.as_requested, "variety": found.variety}
        rows[-1]["distance"] = (norm(images - first) / norm(first)).mean().item()
    return rows


def _by(rows: list[dict], *keys: str) -> dict[tuple, list[dict]]:
    """The rows that have these values in common, by the values."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def at_the_rule(rows: list[dict]) -> dict:
    """Of rows over the fraction, the one at the plugin's."""
    return next(row for row in rows if row["rule"])


def best(rows: list[dict]) -> dict:
    """The one with the least error."""
    return min(rows, key=lambda row: row["error"])


def _table(title: str, head: list, rows: list[list]) -> str:
    cells = [[f"{c:.4f}" if isinstance(c, float) else str(c) for c in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join((title, "", lines[0], "-" * len(lines[0]), *lines[1:], ""))


def describe(study: dict) -> str:
    """The tables, in plain text with aligned columns."""
    steps, chosen, noise = [], [], []
    for key, rows in _by(study["steps"], "model", "dtype", "vector", "sigma").items():
        ways = _by(rows, "difference")
        line = [*map(str, key), rows[0]["reach"], ways.pop(("forward",))[0]["error"]]
        for found in ways.values():
            line += [f"{r['error']:.4f} at {r['fraction']:g}" for r in (at_the_rule(found), best(found))]
        steps.append(line)
    for key, rows in _by(study["chosen"], "model", "dtype").items():
        for (sigma,), found in _by(rows, "sigma").items():
            chosen.append([*key, str(sigma), *(row["error"] for row in found)])
        prices = [f"{row['price']:.1f}" for row in found]
        chosen.append([*key, "price", *prices[:-1], f"{found[-1]['took']} {prices[-1]}"])
    for key, rows in _by(study["noise"], "dtype", "sigma", "lanczos_steps").items():
        noise.append([*map(str, key), *(row["error"] for row in rows)])
    noise.sort(key=lambda line: line[0])
    names = ["name", "images", "frechet", "kernel", "as_requested", "variety", "distance"]
    columns = ["forward", "one-sided: rule", "best", "central: rule", "best"]
    tables = (
        _table(STEPS, ["model", "dtype", "v", "sigma", "reach", *columns], steps),
        _table(CHOSEN, ["model", "dtype", "sigma", *KINDS], chosen),
        _table(NOISE, ["dtype", "sigma", "K", *KINDS], noise),
        _table(PICTURES, names, [[row[name] for name in names] for row in study["pictures"]]),
    )
    return "\n".join(tables)


def plot(study: dict, file: Path) -> None:
    """A row for each model, a panel for each dtype and vector; in the room that is left, what the plugin gives."""
    figure = Canvas(figsize=(24, 14), layout="constrained")
    figure.suptitle("J v: dashed, one-sided; solid, central; at the right edge, forward mode; grey, the plugin's step")
    grid = figure.add_gridspec(4, 6)
    for row, of_model in enumerate(_by(study["steps"], "model").values()):
        for column, (key, rows) in enumerate(_by(of_model, "dtype", "vector").items()):
            _plot_steps(figure.add_subplot(grid[row, column]), f"{rows[0]['model']}, {key[0]}, {key[1]}", rows)
    of_digits = [row for row in study["chosen"] if row["model"] == "bundled digits"]
    _plot_kinds(figure.add_subplot(grid[1, 4:]), "lgs.jvp, bundled digits", of_digits)
    noise = [row for row in study["noise"] if row["lanczos_steps"] == 1]
    _plot_kinds(figure.add_subplot(grid[2, 4:]), "lgs.reverse_noise, bundled digits, K = 1", noise)
    axes, rows = figure.add_subplot(grid[3, 4:]), study["pictures"]
    bars = axes.barh([row["name"] for row in rows], [row["frechet"] for row in rows])
    axes.bar_label(bars, [f" kernel {row['kernel']:z.4f}, {row['distance']:.1%} away" for row in rows])
    title = f"{rows[0]['images']} digits, and how far from the first ones"
    axes.set(xlabel="Fréchet distance to real digits", title=title, xlim=(0, 1.6 * max(r["frechet"] for r in rows)))
    axes.invert_yaxis()
    figure.savefig(file, dpi=110)


def _plot_steps(axes, title: str, rows: list[dict]) -> None:
    ways = _by(rows, "difference", "sigma")
    sigmas = sorted({sigma for _, sigma in ways})
    for (difference, sigma), found in ways.items():
        colour = colormaps["viridis"](sigmas.index(sigma) / len(sigmas))
        if difference == "forward":
            axes.axhline(found[0]["error"], xmin=0.96, color=colour, linewidth=3)
            continue
        style, label = ("--", None) if difference == "one-sided" else ("-", f"σ = {sigma:g}")
        axes.loglog(*zip(*((r["fraction"], r["error"]) for r in found), strict=True), style, color=colour, label=label)
        axes.axvline(at_the_rule(found)["fraction"], color="grey", linestyle=style, linewidth=0.8)
    fine = rows[0]["dtype"] == "float32"
    axes.set(title=title, xlim=(8e-4, 0.8), ylim=(1e-5, 100) if fine else (3e-4, 30))
    axes.set(xlabel="h / (σ √d · reach)", ylabel="relative error of J v")
    axes.legend(loc="upper left" if fine else "lower left", fontsize=8)


def _plot_kinds(axes, title: str, rows: list[dict]) -> None:
    for (jvp, dtype), found in _by(rows, "jvp", "dtype").items():
        style = {"float32": "o-", "bfloat16": "s--", "float16": "^:"}[dtype]
        line = sorted((row["sigma"], row["error"]) for row in found)
        axes.loglog(*zip(*line, strict=True), style, color=f"C{KINDS.index(jvp)}", label=f"{jvp}, {dtype}")
    axes.set(xlabel="σ", ylabel="relative error", title=title)
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))


def measure(run: Run) -> Numbers:
    return product_study(run.quick)


def show(numbers: Numbers, folder: Path) -> Findings:
    file = folder / "products.png"
    plot(numbers, file)
    caption = "Errors over the length of the step, by the engine's rule and the best, and of what the plugin takes."
    tables = [largest_errors(numbers["chosen"]), *noise_and_pictures(numbers)]
    return Findings([], [Figure(file, "Error of Jacobian-vector products", caption)], tables)


def largest_errors(rows: list[dict]) -> Table:
    """Over sigma, for each model and precision, and what a product costs."""
    cells = []
    for (model, dtype), found in _by(rows, "model", "dtype").items():
        of = _by(found, "jvp")
        errors = (f"{max(row['error'] for row in of[kind,]):.2%}" for kind in KINDS)
        prices = (f"{of[kind,][0]['price']:.1f}" for kind in KINDS[:-1])
        cells.append((model, dtype, *errors, ", ".join(prices), of["auto",][0]["took"]))
    head = ("model", "precision", *KINDS, "price of D and J v, in that order", "auto took")
    return Table("Relative error of J v, the largest over the noise levels", head, cells)


def noise_and_pictures(study: dict) -> list[Table]:
    noise = []
    for (dtype, steps), rows in _by(study["noise"], "dtype", "lanczos_steps").items():
        of = _by(rows, "jvp")
        noise.append((dtype, str(steps), *(f"{max(row['error'] for row in of[kind,]):.2%}" for kind in KINDS)))
    pictures = [
        (row["name"], str(row["images"]), f"{row['frechet']:.3f}", f"{row['kernel']:z.4f}")
        + (f"{row['as_requested']:.1%}", f"{row['variety']:.2f}", f"{row['distance']:.3f}")
        for row in study["pictures"]
    ]
    head = ("", "digits", "Fréchet", "kernel", "classified as requested", "variety", "distance from the first row's")
    return [
        Table(
            "Bundled digits: relative error of a step's noise, the largest over the noise levels",
            ("precision", "K", *KINDS),
            sorted(noise),
        ),
        Table("Bundled digits, 10 steps, K = 1: distances to real digits", head, pictures),
    ]


SECTION = Section(
    "products",
    "How accurate products with the Jacobian are",
    "How large is the error of J v in each precision, how much of it reaches the noise and the pictures, and what does "
    "a product cost?",
    measure,
    show,
    remarks=(
        "In float32 finite differences are accurate enough. In bfloat16 one-sided differences lose what the covariance "
        "gains; central ones keep it by the kernel distance, and by the Fréchet distance nothing is left of the gain. "
        'This is why jvp="auto" takes forward mode in half precision, and central differences where forward mode '
        "does not work.",
        "Small networks of the architectures of Stable Diffusion 1.5, SDXL and Flux, with random weights, agree.",
    ),
)
