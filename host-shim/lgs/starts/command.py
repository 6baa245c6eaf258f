"""The command line of fits: ``lgs fit``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import Error, InvalidArgument
from . import FlowPrior, GaussianPrior, MixturePrior, Start, load
from .items import ENDINGS, Items

DESCRIPTION = """Fit a start to pictures or latents, and keep it in a file.

  %(prog)s latents/ --out portraits.safetensors --scale 0.18215
  %(prog)s faces/*.png --out faces.safetensors --family mixture --components 8 --rank 16

In Python lgs.starts.load reads the file, and start.begin(noise, sigma) begins a trajectory; in ComfyUI Load LGS Start
does. There the node Fit LGS Start fits one with the model at hand, and measures where it may be used."""

FAMILIES = ("gaussian", "mixture", "flow")


def main(arguments: list[str], program: str) -> int:
    """Runs the command, called as ``program``; gives its exit status: 0, 1 for an `lgs.Error`, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog=program, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help=f"pictures, or latents (n, d...) or (d...); or folders of them: {', '.join(ENDINGS)}",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the start: a .safetensors file")
    parser.add_argument("--family", choices=FAMILIES, default="gaussian", help="its law (default: %(default)s)")
    parser.add_argument(
        "--rank",
        type=int,
        help="principal components (default: of a Gaussian the likeliest number, of the others 16)",
    )
    parser.add_argument("--components", type=int, default=8, help="of a mixture (default: %(default)s)")
    parser.add_argument(
        "--levels",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="of a flow: the noise levels, sigma / alpha, between which it may be used",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="what latents are multiplied by to be what the model draws: its VAE's scaling_factor (default: 1)",
    )
    parser.add_argument(
        "--shift", type=float, default=0.0, help="what is taken off before: its shift_factor (default: 0)"
    )
    parser.add_argument(
        "--process", choices=("ve", "flow"), default="ve", help="the model's kind (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of a mixture's or a flow's fit (default: %(default)s)")
    args = parser.parse_args(arguments)
    if (args.family == "flow") != (args.levels is not None):
        parser.error("--levels goes with --family flow, which needs it")
    try:
        start = _fitted(args)
        start.save(args.out)
        load(args.out)  # as it will be read
    except (Error, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    print(f"{args.out}: {_in_words(start)}")
    return 0


def _fitted(args: argparse.Namespace) -> Start:
    if args.out.suffix != ".safetensors" or not args.out.parent.is_dir():
        raise InvalidArgument(
            f"--out: expected a name that ends in .safetensors, in a folder that is there, got {args.out}"
        )
    items = Items.of(args.files, args.scale, args.shift)
    about = {"process": args.process}
    unfinished = args.out.with_suffix(".unfinished")
    if args.family == "gaussian":
        with tqdm(total=len(items), unit="picture") as bar:
            return GaussianPrior.fit(items, args.rank, about=about, progress=_shown(bar), resume=unfinished)
    rank = 16 if args.rank is None else args.rank
    with tqdm(unit="round" if args.family == "mixture" else "step") as bar:
        if args.family == "mixture":
            return MixturePrior.fit(items, args.components, rank, seed=args.seed, about=about, progress=_shown(bar))
        levels, shown = tuple(args.levels), _shown(bar)
        return FlowPrior.fit(
            items, rank, levels=levels, seed=args.seed, about=about, progress=lambda at, _: shown(at), resume=unfinished
        )


def _shown(bar: tqdm) -> Callable[[int], Any]:
    return lambda done: bar.update(done - bar.n)


def _in_words(start: Start) -> str:
    words = f"a start of the family {start.family} for items {tuple(start.shape)}, of {start.about['count']}"
    if isinstance(start, GaussianPrior):
        words += f"; {len(start.variances)} components, {start.rest:.3g} along each other direction"
    return words
