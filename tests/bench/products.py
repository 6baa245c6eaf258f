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
from torch import Tensor
from tqdm import tqdm

import lgs
from demo.job import karras_sigmas, labels
from models.distance import HeldOut

from .networks import Digits, Model, Point, bundled, forward_mode, levels, models, norm, points

FRACTIONS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.25, 0.3, 0.5)
"""h in units of sigma sqrt(d), v being of length 1: how far x moves per number, in units of sigma."""

KINDS = ("forward", "finite-difference", "central-difference", "auto")
DIFFERENCES = {"one-sided": "finite-difference", "central": "central-difference"}
"""By its name in the study, its option's."""


def product_study(quick: bool) -> dict:
    """Rows of plain numbers and texts under "steps", "chosen", "noise" and "pictures"."""
    study = {"steps": [], "chosen": []}
    with torch.no_grad():
        for model in tqdm(models(), desc="Jacobian-vector products", total=4, leave=False):
            at = points(model, model.sigmas[1::2] if quick else model.sigmas)
            for dtype in tqdm(model.dtypes, desc=model.name, leave=False):
                seen, items = (at[::2], 2) if dtype == "float16" else (at, len(model.x0))
                denoise = model.build(getattr(torch, dtype), items)
                study["steps"] += [row for point in seen for row in _steps(model, denoise, dtype, items, point)]
                study["chosen"] += _chosen(model, denoise, dtype, items, seen)
        study["noise"] = _noise(bundled(), quick)
        study["pictures"] = _pictures(1 if quick else 10)
    return study


def error(came: Tensor, expected: Tensor) -> float:
    """Over the whole batch, relative."""
    return ((came.double() - expected).norm() / expected.norm()).item()


@functools.cache
def rule(difference: str, dtype: str) -> float:
    """The plugin's own fraction, as seen by a model that it differentiates."""
    moved, x = [], torch.zeros(1, 1024)

    def model(at: Tensor, sigma: Tensor) -> Tensor:
        moved.append(at.norm().item() / x.numel() ** 0.5)
        return 0.5 * at

    lgs.jvp(model, x, 1.0, torch.ones_like(x), {"jvp": DIFFERENCES[difference], "precision": dtype})
    return float(f"{max(moved):.2g}")


def _steps(model: Model, denoise: Callable, dtype: str, items: int, point: Point) -> list[dict]:
    """The error of finite differences in plain PyTorch, and that of forward mode."""
    x, d = point.x[:items], point.x[0].numel()
    # Float16 is emulated on the CPU, and slow.
    fractions = [f for f in FRACTIONS if f >= 0.03] if dtype == "float16" else FRACTIONS
    evaluate = lambda at: denoise(at.float(), levels(at.float(), point.sigma)).double()  # noqa: E731
    middle, rows = evaluate(x), []
    for name, v, expected in zip(("v1", "v2"), point.vectors, point.products, strict=True):
        v, expected = v[:items], expected[:items]
        reach = point.reach[:items].view(norm(v).shape) if name == "v2" else torch.ones_like(norm(v))
        row = {"model": model.name, "dtype": dtype, "sigma": point.sigma, "vector": name, "reach": reach.mean().item()}
        product = forward_mode(denoise, x.float(), point.sigma, v.float())
        rows.append(row | {"difference": "forward", "fraction": None, "error": error(product, expected)})
        for fraction in fractions:
            h = fraction * point.sigma * d**0.5 * reach
            ahead, behind = evaluate(x + h * v), evaluate(x - h * v)
            products = {"one-sided": (ahead - middle) / h, "central": (ahead - behind) / (2 * h)}
            for difference, product in products.items():
                found = {"difference": difference, "fraction": fraction, "error": error(product, expected)}
                rows.append(row | found | {"rule": fraction == rule(difference, dtype)})
    return rows


def _chosen(model: Model, denoise: Callable, dtype: str, items: int, at: list[Point]) -> list[dict]:
    """The error of `lgs.jvp` from high noise to low, as on a trajectory; what ``auto`` finds out on the first holds
    for all. Price: that of D(x) and J v in evaluations, the median of neighbouring pairs."""
    rows, prices, took = [], {}, {}
    options = {"precision": dtype, "process": model.process}
    for jvp in KINDS:
        ours, pairs = functools.partial(denoise), []  # an object of its own, for what auto finds out
        for point in reversed(at):
            x, v = point.x[:items].float(), point.vectors[0][:items].float()
            product = functools.partial(lgs.jvp, ours, x, point.sigma, v, options | {"jvp": jvp})
            bare = functools.partial(denoise, x, levels(x, point.sigma))
            if not pairs:
                product(), bare()
            for _ in range(2):
                (_, product_of_v), seconds = _timed(product)
                pairs.append(seconds / _timed(bare)[1])
            rows.append({"model": model.name, "dtype": dtype, "sigma": point.sigma, "jvp": jvp})
            rows[-1]["error"] = error(product_of_v, point.products[0][:items])
        prices[jvp] = statistics.median(pairs)
        # Tolerance 1: one product is enough.
        ask = lambda step, jvp=jvp: took.update({jvp: step["jvp"]})  # noqa: E731
        sigmas = [at[0].sigma, at[0].sigma / 2]
        lgs.sample(ours, x, sigmas, options | {"jvp": jvp, "tolerance": 1.0}, callback=ask)
    return [row | {"took": took[row["jvp"]], "price": prices[row["jvp"]]} for row in rows]


def _timed(work: Callable) -> tuple[object, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _noise(model: Model, quick: bool) -> list[dict]:
    """The error of Sigma^(1/2) z of a step from sigma to sigma/2, against the float64 model with the same K."""
    rows = []
    at = points(model, (0.2, 3.0) if quick else model.sigmas)
    exact = model.build(torch.float64, len(model.x0))
    for point in tqdm(at, desc="noise of a step", leave=False):
        z = point.vectors[0] * point.x[0].numel() ** 0.5
        for steps in (1, 2, 3):
            step = {"lanczos_steps": steps}
            arguments = point.sigma, point.sigma / 2
            expected = lgs.reverse_noise(exact, point.x, *arguments, z, step | {"jvp": "forward"})
            for dtype in model.dtypes:
                items = 2 if dtype == "float16" else len(z)
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


def _pictures(batches: int) -> list[dict]:
    """Labelled digits in 10 Karras steps, K = 1, 100 a batch: their distances to real ones, and how far they are from
    those of the first sampler."""
    sigmas, asked, held_out = karras_sigmas(10), labels(10), HeldOut()
    rows, first = [], None
    for name, (dtype, options) in tqdm(SAMPLERS.items(), desc="pictures", leave=False):
        denoise = Digits(getattr(torch, dtype), len(asked))
        images = []
        for batch in range(batches):
            generator = torch.Generator().manual_seed(batch)
            draw = lambda *_sigmas, g=generator: torch.randn(len(asked), 1, 32, 32, generator=g)  # noqa: E731
            x = draw() * sigmas[0]
            images.append(lgs.sample(denoise, x, sigmas, {"precision": dtype, "lanczos_steps": 1} | options, noise=draw))
        images = torch.cat(images).clamp(-1, 1)
        first = images if first is None else first
        found = held_out.distances(images, asked.repeat(batches))
        rows.append({"name": name, "images": len(images), "frechet": found.frechet, "kernel": found.kernel})
        rows[-1] |= {"read_as_asked": found.read_as_asked, "variety": found.variety}
        rows[-1]["distance"] = (norm(images - first) / norm(first)).mean().item()
    return rows
