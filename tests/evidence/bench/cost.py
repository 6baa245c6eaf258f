"""What the plugin costs: ratios, each of two things timed in turn.

These machines are noisy: the median of the ratios of neighbouring runs is what counts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import lgs
from evidence.gpu import unet
from evidence.gpu.denoisers import LatentDiffusion
from evidence.models import DIGITS
from evidence.models.in_precision import InPrecision
from evidence.report.run import Figure, Findings, Numbers, Run, Section, Table
from evidence.threads import one_thread
from lgs._ffi.engine import Engine
from lgs.digits import load_unet

from . import engines
from .plain import reverse_step

SIGMAS = (20.0, 8.0, 3.0, 1.0, 0.3, 0.0)
STEPS = 21
"""Noise levels of a trajectory whose steps are timed beside a UNet."""


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(name: str, ours: Callable, other: Callable, rounds: int, bound: float | None = None) -> dict:
    """Times the two in turn; the ratio of each pair, its median and quartiles."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in tqdm(range(rounds), desc=name, leave=False)]
    low, median, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    return {
        "name": name,
        "ratio": median,
        "quartiles": [low, high],
        "bound": bound,
        "rounds": rounds,
        "seconds": statistics.median(a for a, _ in pairs),
        "seconds_other": statistics.median(b for _, b in pairs),
    }


def engine_cost(rounds: int) -> list[dict]:
    """One step, K = 3, with a model that costs nothing, beside the same in plain PyTorch."""
    rows = []
    for name, model in {"constant": lambda x: torch.zeros_like(x), "linear": lambda x: 0.5 * x}.items():
        for batch in (1, 4):
            x, z = torch.randn(2, batch, 4, 128, 128)
            constant = model(x)
            denoise = (lambda x, sigma, c=constant: c) if name == "constant" else (lambda x, sigma: 0.5 * x)
            options = lgs.Options(jvp="finite-difference", lanczos_steps=3)
            rows.append(
                ratio(
                    f"engine: one step, K = 3, {batch} x 4 x 128 x 128, {name} model / plain PyTorch",
                    lambda d=denoise, x=x, z=z, o=options: lgs.sample(d, x, [1.0, 0.5], o, noise=lambda *_: z),
                    lambda d=denoise, x=x, z=z: reverse_step(d, x, 1.0, 0.5, z, 3),
                    rounds,
                    1.0,
                )
            )
    return rows


def interface_cost(rounds: int) -> list[dict]:
    """The stable engine beside tch's, and beside plain PyTorch: one thread, a model of one multiplication."""
    builds = engines.of_this_torch()
    if set(builds) != {"tch", "stable"}:
        return []  # another torch than the one that the folder was assembled with
    rows = []
    x, z = torch.randn(2, 1, 4, 128, 128)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return 0.5 * x

    def by(engine: Engine, options: dict) -> Callable[[], object]:
        def step() -> Tensor:
            with engines.in_use(engine):
                return lgs.sample(denoise, x, [2.0, 1.0, 0.5], options, noise=lambda *_: z)

        return step

    with tempfile.TemporaryDirectory() as folder, one_thread():
        of = {name: engines.opened(build, Path(folder, name)) for name, build in builds.items()}
        for name, options in {
            "K = 1": {"jvp": "finite-difference", "lanczos_steps": 1},
            "K = 3": {"jvp": "finite-difference", "lanczos_steps": 3},
            "secant": {"solver": "secant"},
        }.items():
            name = f"engine on the stable interface / on tch: two steps, {name}, 1 x 4 x 128 x 128, linear model"
            rows.append(ratio(name, by(of["stable"], options), by(of["tch"], options), rounds, 1.05))

        def one_step() -> Tensor:
            with engines.in_use(of["stable"]):
                options = {"jvp": "finite-difference", "lanczos_steps": 3}
                return lgs.sample(denoise, x, [1.0, 0.5], options, noise=lambda *_: z)

        name = "engine on the stable interface: one step, K = 3, 1 x 4 x 128 x 128, linear model / plain PyTorch"
        rows.append(ratio(name, one_step, lambda: reverse_step(denoise, x, 1.0, 0.5, z, 3), rounds, 1.0))
    return rows


def trajectory_cost(weights: Path, rounds: int) -> list[dict]:
    """A trajectory through the bundled model, beside bare evaluations of it at the same points.

    At the same points, because a network is some percent faster on one input over and over.
    """
    rows, unet = [], load_unet(weights)
    for jvp, batch, steps, doubled_batch, bound in (
        ("finite-difference", 100, 3, "never", 1.03),
        ("finite-difference", 10, 3, "never", 1.03),
        ("finite-difference", 1, 3, "never", 1.03),
        ("finite-difference", 1, 3, "always", 1.03),
        ("finite-difference", 1, 1, "always", 1.03),
        ("central-difference", 10, 3, "never", 1.03),
        ("forward", 10, 3, "never", None),
        ("forward", 1, 3, "never", None),
    ):
        denoise = InPrecision(unet, torch.arange(batch) % 10)
        x = torch.randn(batch, 1, 32, 32) * SIGMAS[0]
        options = lgs.Options(jvp=jvp, lanczos_steps=steps, doubled_batch=doubled_batch)
        points = []

        def recorded(x, sigma, denoise=denoise, points=points, batch=batch):
            x = torch.autograd.forward_ad.unpack_dual(x).primal.clone()
            points.extend(zip(x.split(batch), sigma.clone().split(batch), strict=True))
            return denoise(x, sigma)

        with torch.no_grad():
            # Without tangents there is nothing to differentiate, but the points are all the same.
            counted = options if jvp != "forward" else {"covariance": "isotropic"}
            lgs.sample(recorded, x, SIGMAS, counted)
        if jvp == "forward":
            points = [point for point in points[:-1] for _ in range(steps)] + points[-1:]

        @torch.no_grad()
        def bare(denoise=denoise, points=points):
            for point in points:
                denoise(*point)

        @torch.no_grad()
        def ours(denoise=denoise, x=x, options=options):
            lgs.sample(denoise, x, SIGMAS, options)

        calls = ", doubled batch" if doubled_batch == "always" else ""
        name = f"trajectory: 5 steps, K = {steps}, {jvp}{calls}, batch {batch} / {len(points)} bare evaluations"
        rows.append(ratio(name, ours, bare, max(5, min(rounds, rounds * 5 // batch)), bound))
    return rows


def price_beside_a_unet(rounds: int) -> list[dict]:
    """What a step of the secant takes, and a start, beside one evaluation of a UNet of Stable Diffusion 1.5's width:
    a picture of 512 pixels a side, one core."""
    denoise = LatentDiffusion(unet.SD15, torch.device("cpu"), torch.float32)
    x, z, answer = 10 * torch.randn(3, 1, unet.LATENT, 64, 64)
    mask = (torch.rand(1, 1, 64, 64) > 0.5).float()
    sigmas = torch.logspace(1.0, -1.5, STEPS)
    prior = lgs.GaussianPrior.fit([torch.randn(200, unet.LATENT, 64, 64)], rank=64)

    def moved(x: Tensor, sigma: Tensor) -> Tensor:
        return answer / (1 + sigma[0])  # another at each level, or all of it would stand behind a mask

    def sampled(denoise: Callable, **options: Any) -> Callable[[], object]:
        return lambda: lgs.sample(denoise, x, sigmas, {"solver": "secant"} | options, noise=lambda *_: z)

    cases = {
        "secant: one step": (sampled(moved), STEPS - 1),
        "secant, eta = 0.3: one step": (sampled(moved, eta=0.3), STEPS - 1),
        "secant, behind a mask: one step": (sampled(lambda x, sigma: mask * moved(x, sigma)), STEPS - 1),
        "start of rank 64": (lambda: prior.begin(z, 5.0), 1),
    }
    rows = []
    for name, (work, times) in cases.items():
        name = f"{name}, 1 x 4 x 64 x 64 / an evaluation of SD 1.5's UNet"
        with one_thread():
            row = ratio(name, work, lambda: denoise(x, sigmas[:1]), rounds, 0.01 * times)
        rows.append(_divided(row, times))
    return rows


def _divided(row: dict, times: int) -> dict:
    """One of so many."""
    row |= {name: row[name] / times for name in ("ratio", "bound", "seconds")}
    return row | {"quartiles": [value / times for value in row["quartiles"]]}


def describe(rows: list[dict]) -> str:
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'':{width}}  ratio  (quartiles)      bound"]
    for row in rows:
        low, high = row["quartiles"]
        bound = "" if row["bound"] is None else f"{row['bound']:#.3g}"
        lines.append(f"{row['name']:{width}}  {row['ratio']:<#7.3g} ({low:#.3g} - {high:#.3g})  {bound}")
    return "\n".join(lines)


def plot(rows: list[dict], file: Path) -> None:
    """A bar for each ratio, with its quartiles and its bound."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 0.42 * len(rows) + 1), layout="constrained")
    for y, row in enumerate(reversed(rows)):
        low, high = row["quartiles"]
        axes.barh(y, row["ratio"], color="tab:blue", alpha=0.7)
        axes.plot([low, high], [y, y], color="black", linewidth=2)
        if row["bound"] is not None:
            axes.plot([row["bound"]] * 2, [y - 0.4, y + 0.4], color="tab:red")
        axes.text(high + 0.03, y, f"{row['ratio']:#.3g}", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)], fontsize=8)
    axes.set_xlabel("ratio (median; black: quartiles; red: bound)")
    axes.axvline(1.0, color="grey", linewidth=0.8)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def measure(run: Run) -> Numbers:
    rounds = 6 if run.quick else 60
    rows = engine_cost(rounds) + interface_cost(5 * rounds) + trajectory_cost(DIGITS, rounds)
    return {"rows": rows + price_beside_a_unet(max(2, rounds // 6))}


def show(numbers: Numbers, folder: Path) -> Findings:
    file = folder / "cost.png"
    plot(numbers["rows"], file)
    rows = [
        (row["name"], f"{row['ratio']:#.3g}", "{:#.3g} to {:#.3g}".format(*row["quartiles"])) for row in numbers["rows"]
    ]
    caption = "Medians of pairs timed in turn. Black: quartiles. Red: the bound that is aimed at."
    table = Table("Medians of pairs timed in turn", ("", "ratio", "quartiles"), rows)
    return Findings([], [Figure(file, "Cost, as ratios", caption)], [table])


SECTION = Section(
    "cost",
    "What the plugin costs",
    "What does the plugin add to the time of the model evaluations that it asks for?",
    measure,
    show,
    remarks=(
        "K Lanczos steps by finite differences cost K + 1 model evaluations and a few percent. With a model that takes "
        "a few milliseconds the plugin's own time shows; with the networks that people run it does not.",
        "Forward mode costs several evaluations a product on the bundled model, and about as many on networks of "
        "SDXL's and Flux's kind.",
        "The secant needs no products: a step of it, and a start of rank 64, take far less than a hundredth of an "
        "evaluation of a UNet of Stable Diffusion 1.5's width, behind a mask too.",
    ),
)
