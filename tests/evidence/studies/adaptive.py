"""What a tolerance saves.

"final error": how far the samples are from those of a recursion that is run to its end (K = 12), from
the same noise, relative; one picture at a time, as each settles by itself.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from shim.gaussian import Gaussian, ddpm_sigmas
from torch import Tensor
from tqdm import tqdm

import lgs
from evidence.demo.job import karras_sigmas
from evidence.models import DIGITS
from evidence.report.run import Findings, Numbers, Run, Section, Table
from lgs.digits import UNLABELLED, Digits, load_unet

from . import ranges

EXHAUSTIVE = 12
TOLERANCES = (0.02, 0.01, 0.007, 0.005, 0.003)
MOST = 4
"""``lanczos_steps`` beside a tolerance."""


def cases(weights: Path) -> dict:
    """Name: (model of the item with a number, its shape, noise levels, standard deviation of its first x)."""
    gaussian, unet = Gaussian(1024, 2.0, rotated=False), load_unet(weights)
    start = {steps: (gaussian.eigenvalues + ddpm_sigmas(steps)[0] ** 2).sqrt() for steps in (10, 20)}
    found = {}
    for steps in (10, 20):
        found[f"Gaussian, d = 1024, {steps} steps"] = (
            lambda _: gaussian.denoiser(),
            (1, 1024),
            ddpm_sigmas(steps),
            start[steps],
        )
    for name, label in {"labelled digits": None, "any digit": UNLABELLED}.items():
        for steps in (10, 20):
            found[f"{name}, {steps} steps"] = (
                lambda i, label=label: Digits(unet, torch.tensor([i % 10 if label is None else label])),
                (1, 1, 32, 32),
                karras_sigmas(steps).double(),
                karras_sigmas(steps)[0].double(),
            )
    return found


def drawn(case: tuple, count: int, bar: tqdm, **options) -> tuple[Tensor, float]:
    """Samples (count, d) and the mean number of products that one took."""
    model, shape, sigmas, spread = case
    samples, products = [], 0
    dtype = torch.float64 if len(shape) == 2 else torch.float32
    for i in range(count):
        generator = torch.Generator().manual_seed(i)

        def draw(*_sigmas, generator=generator):
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        seen = []
        jvp = "forward" if dtype == torch.float64 else "finite-difference"
        x = (draw().double() * spread).to(dtype)
        samples.append(lgs.sample(model(i), x, sigmas, {"jvp": jvp} | options, noise=draw, callback=seen.append))
        products += seen[-1]["jvps"]
        bar.update()
    return torch.cat(samples).flatten(1).double(), products / count


def saving(weights: Path, quick: bool) -> list[dict]:
    """A row for each case and way: final error with its standard error, and products."""
    rows, count = [], 4 if quick else 20
    ways = {f"K = {k}": {"lanczos_steps": k} for k in (1, 2, 3)}
    ways |= {f"tolerance {t:g}": {"lanczos_steps": MOST, "tolerance": t} for t in TOLERANCES}
    found = cases(weights)
    if quick:
        found = {name: case for name, case in found.items() if "10 steps" in name}
    with tqdm(total=len(found) * (len(ways) + 1) * count, desc="tolerance", leave=False) as bar:
        for name, case in found.items():
            exact, _ = drawn(case, count, bar, lanczos_steps=EXHAUSTIVE)
            for way, options in ways.items():
                samples, products = drawn(case, count, bar, **options)
                error = (samples - exact).norm(dim=1) / exact.norm(dim=1)
                spread = (error.std() / math.sqrt(count)).item()
                rows.append(
                    {"case": name, "way": way, "error": error.mean().item(), "stderr": spread, "jvps": products}
                )
    for row in rows:
        three = next(r for r in rows if r["case"] == row["case"] and r["way"] == "K = 3")
        row["part_of_three"] = row["jvps"] / three["jvps"]
        row["as_good_as_three"] = row["error"] <= three["error"] + three["stderr"]
    return rows


def describe(rows: list[dict]) -> str:
    """The table, and for each case the cheapest tolerance that is as good as K = 3."""
    lines = [f"{'':32}{'':18}{'final error':>18}{'products':>10}{'of K = 3':>10}"]
    for row in rows:
        good = "  as good" if row["as_good_as_three"] and row["way"].startswith("tolerance") else ""
        error = f"{row['error']:.4f} ± {row['stderr']:.4f}"
        lines.append(f"{row['case']:32}{row['way']:18}{error:>18}{row['jvps']:10.1f}{row['part_of_three']:10.0%}{good}")
    return "\n".join(lines)


def measure(run: Run) -> Numbers:
    return {"rows": saving(DIGITS, run.quick), "ranges": ranges.where_it_pays(DIGITS, run.quick)}


def show(numbers: Numbers, folder: Path) -> Findings:
    head = ("case", "products", "final error", "a sample's products", "of K = 3")
    rows = [
        (row["case"], row["way"], f"{row['error']:.4f} ± {row['stderr']:.4f}", f"{row['jvps']:.1f}")
        + (f"{row['part_of_three']:.0%}",)
        for row in numbers["rows"]
    ]
    return Findings(
        [enough(numbers["rows"], case) for case in dict.fromkeys(row["case"] for row in numbers["rows"])],
        [],
        [
            ranges.table(numbers["ranges"]),
            Table(f"Final error: distance to samples with K = {EXHAUSTIVE}, relative", head, rows),
        ],
    )


def enough(rows: list[dict], case: str) -> str:
    """The largest tolerance with which a case's final error is that of fixed K = 3."""
    three = next(row for row in rows if (row["case"], row["way"]) == (case, "K = 3"))
    found = [
        row for row in rows if row["case"] == case and row["way"].startswith("tolerance") and row["as_good_as_three"]
    ]
    about = f"{case[:1].upper()}{case[1:]}, final error {three['error']:.4f} ± {three['stderr']:.4f} with fixed K = 3"
    if not found:
        tightest = [row for row in rows if row["case"] == case and row["way"].startswith("tolerance")][-1]
        return (
            f"{about}: no tolerance reaches it; {tightest['way']} has {tightest['error']:.4f} ± "
            f"{tightest['stderr']:.4f} with {tightest['part_of_three']:.0%} of its products."
        )
    loosest = found[0]
    return f"{about}: {loosest['way']} has the same error with {loosest['part_of_three']:.0%} of its products."


SECTION = Section(
    "adaptive",
    "Where products pay",
    "How many products does a tolerance save, and at which noise levels does the full covariance pay?",
    measure,
    show,
    remarks=(
        "The covariance pays at high noise levels and never at the lowest. This is why the node takes products only in "
        "a range of noise levels.",
        "A tolerance saves about a third of the products of K = 3, one picture at a time. With K = 1, the node's "
        "default, there is nothing to save.",
    ),
)
