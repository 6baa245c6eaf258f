"""What the demo says: the table on the terminal, the pictures' captions, and ``demo.json``."""

from __future__ import annotations

import dataclasses
import json
import platform
from importlib import metadata
from pathlib import Path

import torch

import lgs
from evidence.models.distance import Distances

from .job import Result

PACKAGES = ("torch", "torchmetrics", "numpy", "matplotlib")


def caption(result: Result, distances: Distances) -> list[str]:
    """The lines beside a sampler's digits."""
    return [
        result.sampler.settings.replace("eta", "η ="),
        f"{result.model_evaluations} model evaluations",
        _both(distances),
    ]


def real_caption(real: Distances) -> list[str]:
    """The lines beside real digits."""
    return ["held out from training", _both(real)]


def _both(distances: Distances) -> str:
    return f"Fréchet {distances.frechet:.3f}, kernel {distances.kernel:z.4f}"


def basis(measured: Distances) -> str:
    """What a distance is between."""
    return f"from {measured.images:,} digits to {measured.reference:,} held-out real ones, in a classifier's features"


def text(results: list[Result], measured: list[Distances], real: Distances) -> str:
    """A row for each sampler and one for real digits, and what the numbers rest on."""
    head = (
        "sampler",
        "label",
        "eta",
        "steps",
        "evaluations",
        "JVPs",
        "seconds",
        "Fréchet",
        "kernel",
        "classified as requested",
        "variety",
    )
    rows = [
        (
            result.sampler.name,
            "any digit" if result.sampler.any_digit else "0 to 9",
            result.sampler.eta,
            f"{result.sampler.steps}",
            f"{result.model_evaluations}",
            f"{result.jvps}",
            f"{result.seconds:.1f}",
            *_cells(distances),
        )
        for result, distances in zip(results, measured, strict=True)
    ]
    rows.append(("real digits", *[""] * 6, *_cells(real)))
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in (head, *rows))
    ]
    return "\n".join(
        (
            lines[0],
            "-" * len(lines[0]),
            *lines[1:],
            "",
            f"Evaluations and JVPs: for one picture. Seconds: for all {measured[0].images:,}.",
            f"Distances (nearer is better): {basis(measured[0])}.",
            "The Fréchet distance is sensitive to a few failed digits, the kernel distance to a shift of many. "
            "The last row",
            f"is {real.images:,} other real digits: what a perfect sampler would get.",
            "Variety: variance of the pixels among pictures of one digit, that of the held-out ones being 1.",
        )
    )


def _cells(distances: Distances) -> tuple[str, ...]:
    read, variety = distances.as_requested, distances.variety
    return (
        f"{distances.frechet:.3f}",
        f"{distances.kernel:z.4f}",
        "" if read is None else f"{read:.1%}",
        "" if variety is None else f"{variety:.2f}",
    )


def save_json(
    file: Path, settings: dict, results: list[Result], measured: list[Distances], real: Distances, pictures: list[str]
) -> None:
    """Everything in the table, and what it takes to do it again."""
    found = {
        "settings": settings,
        "versions": {
            "lgs": lgs.info(),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "threads": torch.get_num_threads(),
        "samplers": [
            {
                **dataclasses.asdict(result.sampler),
                "images": len(result.images),
                "model_evaluations": result.model_evaluations,
                "jvps": result.jvps,
                "seconds": round(result.seconds, 3),
                "distances": dataclasses.asdict(distances),
            }
            for result, distances in zip(results, measured, strict=True)
        ],
        "real": {"distances": dataclasses.asdict(real)},
        "pictures": pictures,
    }
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
