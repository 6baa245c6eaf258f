"""``make bench``: print and save what the plugin costs, and the studies behind its defaults.

cost        the engine beside plain PyTorch; trajectories beside bare model evaluations
attention   forward mode through attention: time and memory of each implementation
products    the error of Jacobian-vector products: over the step h, over sigma, in each precision
symmetry    how symmetric the model's Jacobian is, and whether it matters
adaptive    what a tolerance saves; at which noise levels the full covariance pays
many_gpus   what limits a batch on 10, 100 and 1,000 GPUs (needs Ray: pip install ray==2.60.0; with
            COMFYUI_PATH and COMFYUI_PYTHON two real ComfyUIs beside one, too)

A full run also puts its numbers into the committed results, tests/evidence/results.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from evidence import readme, results, sections
from evidence.report import page
from evidence.report.run import Numbers, Run, Section, Unavailable
from evidence.studies import adaptive, attention, products, ranges, symmetry
from evidence.studies.many_gpus import section as many_gpus

from . import cost

SECTIONS: dict[str, Section] = {id: sections.load("bench", id) for id in sections.MODULES["bench"]}

TEXTS: dict[str, Callable[[Numbers], str]] = {
    "cost": lambda numbers: cost.describe(numbers["rows"]),
    "attention": lambda numbers: attention.describe(numbers["rows"]),
    "products": products.describe,
    "symmetry": symmetry.describe,
    "adaptive": lambda numbers: f"{adaptive.describe(numbers['rows'])}\n\n{ranges.describe(numbers['ranges'])}",
    "many_gpus": many_gpus.describe,
}
"""What is printed of each section."""


def bench(run: Run, chosen: list[Section]) -> dict[str, dict]:
    """Measures the sections and gives the entries of those that this machine can measure; ``bench.json`` keeps those of
    earlier runs, too."""
    file = run.out / "bench.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    measured = {}
    for section in chosen:
        print(f"\n== {section.id}", flush=True)
        try:
            numbers = page.plain(section.measure(run))
        except Unavailable as problem:
            print(f"Not measured: {problem}")
            continue
        print(TEXTS[section.id](numbers))
        section.show(numbers, run.out)
        measured[section.id] = kept[section.id] = {"about": results.about(section.title, run.quick)} | numbers
        # After each section: what was measured is kept if the next one breaks off.
        page.write(file, json.dumps(kept, indent=2) + "\n")
    print(f"\nsaved {file}")
    return measured


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
    entries = bench(Run(args.out, args.quick), [SECTIONS[id] for id in args.only])
    if results.publish("bench", entries):
        readme.write()


if __name__ == "__main__":
    main()
