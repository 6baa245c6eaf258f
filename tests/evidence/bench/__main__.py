"""``make bench``: print and save what the plugin costs, and the studies behind its choices.

cost        the engine beside plain PyTorch; trajectories beside bare model evaluations
attention   forward mode through attention: time and memory of each way
products    the error of Jacobian-vector products: over the step h, over sigma, in each precision
symmetry    how symmetric the model's Jacobian is, and what it matters
adaptive    what a tolerance saves; at which noise levels the full covariance pays
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import lgs
from evidence.models import DIGITS
from evidence.studies import adaptive, attention, products, ranges, symmetry

from . import cost


def run_cost(args) -> dict:
    rounds = 6 if args.quick else 60
    rows = cost.engine_cost(rounds) + cost.trajectory_cost(DIGITS, rounds)
    cost.plot(rows, args.out / "cost.png")
    print(cost.describe(rows))
    return {"rows": rows}


def run_attention(args) -> dict:
    rows = attention.attention_cost(1 if args.quick else 5)
    print(attention.describe(rows))
    return {"rows": rows}


def run_products(args) -> dict:
    study = products.product_study(args.quick)
    products.plot(study, args.out / "products.png")
    print(products.describe(study))
    return study


def run_symmetry(args) -> dict:
    study = symmetry.symmetry_study(args.quick)
    symmetry.plot(study, args.out / "symmetry.png")
    print(symmetry.describe(study))
    return study


def run_adaptive(args) -> dict:
    rows, where = adaptive.saving(DIGITS, args.quick), ranges.where_it_pays(DIGITS, args.quick)
    print(adaptive.describe(rows), ranges.describe(where), sep="\n\n")
    return {"rows": rows, "ranges": where}


SECTIONS = {
    "cost": run_cost,
    "attention": run_attention,
    "products": run_products,
    "symmetry": run_symmetry,
    "adaptive": run_adaptive,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for bench.json and the plots")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="these sections alone")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds and samples: whether it runs, not what it costs"
    )
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "bench.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    for name in args.only:
        print(f"\n== {name}", flush=True)
        about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "lgs": lgs.info()["lgs"]}
        result[name] = about | {"quick": args.quick} | SECTIONS[name](args)
        # After each section: what was measured is kept if the next one breaks off.
        file.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nsaved {file}")


if __name__ == "__main__":
    main()
