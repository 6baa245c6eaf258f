"""``make report``: measure, and write ``report.json``, the figures and ``index.html``, a page to read.

path_kl         how far the reverse kernels are from the exact ones, where these are known
lanczos_error   how fast the Lanczos steps converge
exact_samples   samples of exact models, for every sampler
guidance        what guidance does to the covariance
guidance_digits the same of a trained model, guided by a classifier of its pictures
likelihood      which covariance the data are likely under
equal           the node's defaults against every sampler, at equal evaluations
starts          starting below the highest noise level, for several samplers
families        learned laws to begin with, against the Gaussian
trained         samples of trained models against held-out data, for every sampler
defaults        the settings that pay best for a number of model evaluations

What was measured is kept in OUT/cache: a run that was stopped goes on where it was. A full run also puts its numbers
into the committed results, tests/evidence/results.json, and prints tests/evidence/README.md from them.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from evidence import readme, results, sections

from . import page
from .run import Numbers, Run, Section, Unavailable

MODULES = sections.MODULES["report"]
"""Where each section is, in the order of the page."""


def load(id: str) -> Section:
    """The section of that id, out of its module."""
    return sections.load("report", id)


def measured(section: Section, run: Run, put: Callable[[dict], None]) -> bool:
    """Puts the section's entry into ``report.json``: once it is whole, and with what is there before that.

    False where it failed: the entry says so then, and the sections after it can still be measured.
    """
    about = {"title": section.title, "basis": page.basis(run.quick)}

    def entry(numbers: Numbers, **more: object) -> dict:
        return {"about": about | more} | page.plain(numbers)

    def so_far(numbers: Numbers) -> None:
        put(entry(numbers, unfinished=True))

    try:
        put(entry(section.measure(dataclasses.replace(run, so_far=so_far))))
    except Unavailable as problem:
        put(entry({}, problem=str(problem)))
    except Exception as problem:
        traceback.print_exc()
        put(entry({}, problem=f"it failed, with {type(problem).__name__}: {problem}"))
        return False
    return True


def measured_before(section: Section, entry: dict, folder: Path) -> page.Chapter:
    """The section out of an earlier run's ``report.json``."""
    try:
        return page.chapter(section, entry, folder)
    except (AttributeError, LookupError, TypeError, ValueError) as problem:
        old = f"what report.json has is of another version ({problem!r}); --only {section.id} measures it anew"
        return page.chapter(section, {"about": entry["about"] | {"problem": old}}, folder)


def report(run: Run, chosen: list[Section]) -> list[str]:
    """Measures the sections; the page has the others, too, as far as they were measured before.

    Gives the ids of those that failed.
    """
    file = run.out / "report.json"
    entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    others = [load(id) for id in MODULES if id in entries and id not in {section.id for section in chosen}]
    chapters = {other.id: measured_before(other, entries[other.id], run.out) for other in others}

    def put(section: Section, entry: dict) -> None:
        chapters[section.id] = page.chapter(section, entry, run.out)
        entries[section.id] = entry
        page.write(file, json.dumps(entries, indent=2) + "\n")
        page.write(run.out / "index.html", page.render([chapters[id] for id in MODULES if id in chapters]))

    failed = []
    for number, section in enumerate(chosen, start=1):
        print(f"\n== {section.title} ({number} of {len(chosen)})", flush=True)
        if not measured(section, run, functools.partial(put, section)):
            failed.append(section.id)
        found = chapters[section.id]
        print(*(found.findings.sentences if found.findings else [f"Not measured: {found.problem}"]), sep="\n")
    print(f"\n{run.out / 'index.html'}")
    return failed


def publish(file: Path, chosen: list[Section]) -> None:
    """Puts what was measured of the sections into the committed results."""
    entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if results.publish("report", {section.id: entries[section.id] for section in chosen if section.id in entries}):
        readme.write()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the page, its figures and the cache")
    parser.add_argument("--only", nargs="+", choices=MODULES, default=list(MODULES), help="these sections alone")
    parser.add_argument("--quick", action="store_true", help="little of everything: whether it runs")
    args = parser.parse_args(arguments)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        parser.error(f"argument --out: expected a folder that can be written to, got {args.out} ({problem.strerror})")
    chosen = [load(id) for id in MODULES if id in args.only]
    try:
        failed = report(Run(args.out, args.quick), chosen)
    finally:
        publish(args.out / "report.json", chosen)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}. The reasons are above, and on the page.")
