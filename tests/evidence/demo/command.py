"""Command line of the demo. See ``python -m evidence.demo --help``."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from evidence import readme, results
from evidence.models import DIGITS
from evidence.models.distance import HeldOut
from lgs.digits import load_unet

from . import job, pictures, table
from .section import FIGURE, SECTION

OVERVIEW = (
    "lgs-shipped",
    "dpmpp-2m",
    "dpmpp-2m-sde",
    "uni-pc",
    "isotropic",
    "lgs-in-part",
    "any-isotropic",
    "any-lgs-shipped",
)
"""What the overview picture shows."""


def main(arguments: list[str] | None = None) -> None:
    """Draws, measures, writes and prints; ``arguments`` are the command line's."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        parser.error(f"argument --out: expected a folder that can be written to, got {args.out} ({problem.strerror})")
    # As many real digits as generated ones, but no more than can be spared from the reference.
    held_out = HeldOut(aside=10 * min(args.per_digit, 250))
    real = held_out.distances(*held_out.real)
    results = job.run(
        load_unet(args.model),
        job.samplers(args.steps, args.eta),
        per_digit=args.per_digit,
        jvp=args.jvp,
        seed=args.seed,
    )
    labels = job.labels(args.per_digit)
    measured = [held_out.distances(result.images, None if result.sampler.any_digit else labels) for result in results]

    footnote = f"Distances: {table.basis(measured[0])}."
    blocks = [
        pictures.Block(result.sampler.title, table.caption(result, distances), result.images)
        for result, distances in zip(results, measured, strict=True)
    ]
    files = [f"{result.sampler.id}.png" for result in results]
    for file, block, result in zip(files, blocks, results, strict=True):
        rows = "?" * 10 if result.sampler.any_digit else "0123456789"
        pictures.save_grid(args.out / file, block, rows, footnote)
    files.append("overview.png")
    pictures.save_overview(
        args.out / files[-1],
        "The same noise, sampler by sampler",
        footnote,
        [
            pictures.Block("Real digits", table.real_caption(real), held_out.real[0]),
            *(block for block, result in zip(blocks, results, strict=True) if result.sampler.id in OVERVIEW),
        ],
    )
    settings = {name: value for name, value in vars(args).items() if name not in ("out", "model", "publish")}
    table.save_json(args.out / "demo.json", settings, results, measured, real, files)

    print(f"\n{table.text(results, measured, real)}\n")
    for file in (*files, "demo.json"):
        print(args.out / file)
    if args.publish:
        publish(args.out)


def publish(out: Path) -> None:
    """Puts the numbers and the overview of a finished demo into the committed evidence."""
    numbers = json.loads((out / "demo.json").read_text(encoding="utf-8"))
    kept = {name: numbers[name] for name in ("settings", "samplers", "real")}
    results.publish("demo", {SECTION.id: {"about": results.about(SECTION.title)} | kept})
    shutil.copy(out / FIGURE, results.FIGURES)
    readme.write()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.demo",
        description="Draws handwritten digits with the bundled model and several samplers, and compares them.",
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write to (%(default)s)")
    parser.add_argument("--per-digit", type=_whole(1, 1000), default=100, help="how many of each digit (%(default)s)")
    parser.add_argument("--steps", type=_whole(2, 1000), default=10, help="reverse steps (%(default)s)")
    parser.add_argument("--eta", type=_share, default=1.0, help="1 is DDPM's, 0 is DDIM's (%(default)s)")
    parser.add_argument("--seed", type=_whole(0, 2**31 - 1), default=0, help="of the noise (%(default)s)")
    parser.add_argument(
        "--jvp",
        choices=("auto", "forward", "finite-difference"),
        default="finite-difference",
        help="how Jacobian-vector products are computed (%(default)s)",
    )
    parser.add_argument(
        "--model", type=Path, default=DIGITS, help="weights of the digit model (default: the bundled ones)"
    )
    parser.add_argument(
        "--publish", action="store_true", help="also put the numbers into the committed evidence, tests/evidence"
    )
    return parser


def _whole(least: int, most: int):
    def whole(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, got {text!r}")
        return int(text)

    return whole


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value
