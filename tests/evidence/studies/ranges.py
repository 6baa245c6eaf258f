"""At which noise levels the full covariance pays: Lanczos steps in one range of them, isotropic ones elsewhere."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

import lgs
from evidence.demo.job import karras_sigmas
from evidence.models.distance import HeldOut
from evidence.report.run import Table
from lgs.digits import SIZE, UNLABELLED, Digits, load_unet

RANGES = {
    "nowhere": (10000.0, 10000.0),
    "σ < 0.5": (0.0, 0.5),
    "0.5 to 3": (0.5, 3.0),
    "σ > 3": (3.0, 10000.0),
    "everywhere": (0.0, 10000.0),
}
STEPS = 10


def where_it_pays(weights: Path, quick: bool) -> list[dict]:
    """Distances to held-out digits, K = 1, a row for each range and whether the digit is asked for."""
    unet, held_out, sigmas = load_unet(weights), HeldOut(), karras_sigmas(STEPS)
    batches, labels = 1 if quick else 10, torch.arange(100) % 10
    rows = []
    with tqdm(total=2 * len(RANGES) * batches, desc="where it pays", leave=False) as bar:
        for case, asked in {"labelled digits": labels, "any digit": torch.full_like(labels, UNLABELLED)}.items():
            denoise = torch.no_grad()(Digits(unet, asked))
            for covered, (low, high) in RANGES.items():
                options = lgs.Options(
                    lanczos_steps=1, covariance_min_sigma=low, covariance_max_sigma=high, jvp="finite-difference"
                )
                images, seen = [], []
                for batch in range(batches):
                    generator = torch.Generator().manual_seed(batch)

                    def draw(*_sigmas, generator=generator):
                        return torch.randn(100, 1, SIZE, SIZE, generator=generator)

                    x = draw() * sigmas[0]
                    images.append(lgs.sample(denoise, x, sigmas, options, noise=draw, callback=seen.append))
                    bar.update()
                told = labels.repeat(batches) if case == "labelled digits" else None
                distances = held_out.distances(torch.cat(images), told)
                rows.append(
                    {
                        "case": case,
                        "lanczos": covered,
                        "evaluations": seen[-1]["model_evaluations"],
                        "frechet": distances.frechet,
                        "kernel": distances.kernel,
                    }
                )
    return rows


def describe(rows: list[dict]) -> str:
    lines = [f"{'Lanczos steps (K = 1) at':40}{'evaluations':>12}{'Fréchet':>10}{'kernel':>10}"]
    for row in rows:
        name = f"{row['case']}, {row['lanczos']}"
        lines.append(f"{name:40}{row['evaluations']:12}{row['frechet']:10.3f}{row['kernel']:10.4f}")
    return "\n".join(lines)


def table(rows: list[dict]) -> Table:
    cells = [
        (row["case"], row["lanczos"], str(row["evaluations"]), f"{row['frechet']:.3f}", f"{row['kernel']:.4f}")
        for row in rows
    ]
    head = ("label", "Lanczos steps at", "evaluations", "Fréchet distance", "kernel distance")
    return Table(f"{STEPS} steps, K = 1 in one range of noise levels, isotropic steps elsewhere", head, cells)
