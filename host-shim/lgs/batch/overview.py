"""What is left to look at when a batch ends or is stopped: its contact sheets, and a table that knows its settings."""

from __future__ import annotations

import dataclasses
import io
import re

from tqdm import tqdm

from .files import writing
from .plan import Axis, Job
from .sheet import Sheets
from .store import Store

SHEET = "contact-sheet.png"
"""A single page; several are contact-sheet-1.png and so on."""
_SHEETS = re.compile(r"contact-sheet(-\d+)?\.png")


@dataclasses.dataclass(frozen=True)
class Overview:
    """What came of a plan."""

    pictures: int
    done: int
    jobs: int
    sheets: list[str]
    """Their files; none without a picture."""


def write_overview(store: Store, axes: list[Axis], jobs: list[Job]) -> Overview:
    """Draws the contact sheets of the jobs that are done, and puts into the table what the plan says of them."""
    done = {job.id: found for job in jobs if (found := store.done(job))}
    store.describe([(job, done[job.id]) for job in jobs if job.id in done])
    pictures = sum(len(found.pictures) for found in done.values())
    sheets = _draw(store, Sheets(store.folder, axes, jobs, done)) if pictures else []
    return Overview(pictures, len(done), len(jobs), sheets)


def _draw(store: Store, sheets: Sheets) -> list[str]:
    digits, files = len(str(len(sheets))), []
    bar = tqdm(sheets, "contact sheet", unit="page", delay=2, leave=False)
    for number, (page, text) in enumerate(bar, start=1):
        content = io.BytesIO()
        page.save(content, "PNG", pnginfo=text)
        files.append(SHEET if len(sheets) == 1 else f"{SHEET[:-4]}-{number:0{digits}d}.png")
        store.write(files[-1], content.getvalue())
    for old in store.folder.iterdir():
        if _SHEETS.fullmatch(old.name) and old.name not in files:
            with writing(old):
                old.unlink()
    return files
