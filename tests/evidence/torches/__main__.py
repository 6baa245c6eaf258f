"""``make torches``: the shim's tests on every release of torch, each in an environment of its own.

An environment takes about 5 GB and is removed after its run; --keep leaves it, and the next run uses it.
A run of all releases also puts its table into the committed results, tests/evidence/results.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from evidence import readme, results
from evidence.report import page
from evidence.report.run import Run

from .section import RELEASES, SECTION, describe, measure


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.torches", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for environments, logs and torches.json")
    parser.add_argument("--only", nargs="+", choices=RELEASES, default=RELEASES, help="these releases alone")
    parser.add_argument("--keep", action="store_true", help="leave the environments where they are")
    parser.add_argument("--quick", action="store_true", help="the validator's tests alone")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "torches.json"
    kept = json.loads(file.read_text(encoding="utf-8"))["torches"] if file.exists() else []

    def save(numbers: dict) -> dict:
        """What was found now in the place of what was known of these releases."""
        found = {torch["release"]: torch for torch in [*kept, *numbers["torches"]]}
        numbers = {"torches": [found[release] for release in RELEASES if release in found]}
        entry = {"about": results.about(SECTION.title, args.quick)} | numbers
        page.write(file, json.dumps(entry, indent=2) + "\n")
        return entry

    run = dataclasses.replace(Run(args.out, args.quick), so_far=lambda numbers: save(numbers) and None)
    entry = save(measure(run, tuple(args.only), args.keep))
    print(describe(entry))
    if len(entry["torches"]) == len(RELEASES) and results.publish("torches", {"torches": entry}):
        readme.write()


if __name__ == "__main__":
    main()
