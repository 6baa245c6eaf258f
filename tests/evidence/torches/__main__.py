"""``make torches``: the shim's tests on every release of torch, each in an environment of its own.

An environment takes about 5 GB and is removed after its run; --keep leaves it, and the next run uses it.
A run of all releases also puts its table into the committed results, tests/evidence/results.json. The exit status is 1
where a test failed, where none passed, and where there is no engine for a release that should have one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from evidence import readme, results
from evidence.report import page
from evidence.report.run import Run

from . import windows
from .section import RELEASES, SECTION, WITHOUT_ENGINE, describe, measure


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.torches", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for environments, logs and torches.json")
    parser.add_argument("--only", nargs="+", choices=RELEASES, default=RELEASES, help="these releases alone")
    parser.add_argument("--keep", action="store_true", help="leave the environments where they are")
    parser.add_argument("--quick", action="store_true", help="the validator's tests alone")
    parser.add_argument("--failed", action="store_true", help="of the tests of an earlier run those alone that failed")
    parser.add_argument("--windows", action="store_true", help="in their place: the libraries for Windows, under Wine")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.windows:
        return under_wine(args.out)
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
    before = {torch["release"]: torch for torch in kept if torch.get("failed")} if args.failed else None
    releases = tuple(release for release in args.only if before is None or release in before)
    entry = save(measure(run, releases, args.keep, before))
    print(describe(entry))
    measured = [torch for torch in entry["torches"] if torch["release"] in args.only]
    if len(entry["torches"]) == len(RELEASES) and results.publish("torches", {"torches": entry}):
        readme.write()
    return int(not all(map(as_it_should_be, measured)))


def under_wine(out: Path) -> int:
    entry = {"about": results.about(windows.SECTION.title, False)} | windows.measure(Run(out, False))
    print(windows.describe(entry))
    if not any(torch["skipped"] for torch in entry["torches"]):
        results.publish("torches", {"windows": entry})
        readme.write()
    return int(not all(map(as_it_should_be, entry["torches"])))


def as_it_should_be(torch: dict) -> bool:
    if torch["release"] in WITHOUT_ENGINE:
        return "no engine" in torch.get("problem", "")
    return bool(torch.get("passed")) and not torch["failed"]


if __name__ == "__main__":
    sys.exit(main())
