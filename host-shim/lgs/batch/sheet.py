"""Contact sheets: the pictures of a plan side by side, its axes labelled.

Each page is a PNG that says in its own text, under "plan", what it shows: the axes with all values in full, and the
jobs on it with their files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from .arrangement import Block, Measure, Page, blocks, pages, shown
from .lettering import Font, fonts, wrapped
from .plan import Axis, Job
from .store import Done
from .thumbnail import PAPER, thumbnail

SIDES = (256, 192, 128, 96)
"""Pixels of a picture's longer side: the first with which there are at most `MOST_PAGES`, else the last."""
MOST_PAGES = 4
MOST = 4096
"""Pixels of a page's side, without margins and title, which any viewer opens."""
MOST_SHOWN = 16
"""Pictures of one job."""
NARROWEST = 480
MARGIN, GAP, APART, INNER_GAP = 24, 8, 32, 2
ROW_HEAD = 180
"""Pixels at most."""
MOST_LINES = 3
TITLE, HEADING, HEAD, NOTE = 40, 28, 24, 18
"""Sizes of letters, which are to be read where a page is shown at half its size."""
INK, FAINT, EMPTY, EDGE = "#202020", "#757575", "#f2f2f2", "#d4d4d4"


class Sheets:
    """The contact sheets of a plan. ``done`` has, by a job's id, what is finished of it; one job at least."""

    def __init__(self, folder: Path, axes: Sequence[Axis], jobs: Sequence[Job], done: Mapping[str, Done]):
        self.folder, self.axes, self.jobs, self.done = folder, axes, jobs, done
        whole = blocks(axes, jobs)
        self.title = " by ".join(title for title in (whole[0].column_title, whole[0].row_title) if title)
        self.title += f", for each {whole[0].heading_title}" if whole[0].heading_title else ""
        found = [picture for job in done.values() for picture in job.pictures]
        parts = [f"{len(found)} {'picture' if len(found) == 1 else 'pictures'}"]
        parts += [f"{len(jobs) - len(done)} of {len(jobs)} jobs are not made yet"] if len(done) < len(jobs) else []
        parts += [f"all with {axis.label} = {shown(axis.values[0])}" for axis in axes if not axis.differs]
        self.note = "; ".join(parts)
        texts = [text for block in whole for text in (block.heading, *block.columns, *block.rows)]
        sizes = (TITLE, HEADING, HEAD, NOTE)
        self.fonts = dict(zip(sizes, fonts([self.title, self.note, *texts], sizes), strict=True))
        self.shape = max(picture.width for picture in found), max(picture.height for picture in found)
        self.inner = _near_square(min(MOST_SHOWN, max(len(job.pictures) for job in done.values())))
        for side in SIDES:
            self._measure(whole, side)
            every = pages(whole, self.measure)
            if len(every) <= MOST_PAGES:
                break
        self.pages = [page for page in every if any(job.id in done for job in page.jobs)]

    def __len__(self) -> int:
        """The number of pages; those without any picture do not count."""
        return len(self.pages)

    def __iter__(self) -> Iterator[tuple[Image.Image, PngInfo]]:
        """Each page with its text; pictures are read one after another."""
        for number, page in enumerate(self.pages, start=1):
            yield self._drawn(page, number), self._text(page, number)

    def _drawn(self, page: Page, number: int) -> Image.Image:
        width = max(page.width, NARROWEST)
        note = f"page {number} of {len(self)}; {self.note}" if len(self) > 1 else self.note
        large, small = self.fonts[TITLE], self.fonts[NOTE]
        above = [(line, large, INK) for line in wrapped(self.title, large, width, 2) if line]
        above += [(line, small, FAINT) for line in wrapped(note, small, width, MOST_LINES)]
        top = MARGIN + sum(_line(font) for _, font, _ in above) + APART // 2
        sheet = Image.new("RGB", (width + 2 * MARGIN, top + page.height + MARGIN), PAPER)
        draw = ImageDraw.Draw(sheet)
        y = MARGIN
        for line, font, colour in above:
            draw.text((MARGIN, y), line, colour, font)
            y += _line(font)
        for block, left, below in page.placed:
            self._draw_block(sheet, draw, block, MARGIN + left, top + below)
        return sheet

    def _text(self, page: Page, number: int) -> PngInfo:
        jobs = []
        for job in page.jobs:
            files = [picture.file for picture in self.done[job.id].pictures] if job.id in self.done else []
            jobs.append({"job": job.id, "values": self._positions(job), "files": files})
        axes = [{"setting": a.label, "node": a.node, "input": a.input, "values": a.values} for a in self.axes]
        info = PngInfo()
        info.add_text("plan", json.dumps({"axes": axes, "page": number, "pages": len(self), "jobs": jobs}))
        return info

    def _positions(self, job: Job) -> list[int]:
        """Which value of each axis a job has."""
        rest, made = job.number - 1, []
        for axis in reversed(self.axes):
            rest, position = divmod(rest, len(axis.values))
            made.append(position)
        return made[::-1]

    def _measure(self, whole: Sequence[Block], side: int) -> None:
        """How much room everything takes where a picture's longer side has so many pixels."""
        longest = max(self.shape)
        side = side // longest * longest if longest < side else side  # small ones are enlarged by whole numbers
        self.box = tuple(max(side // 3, round(side * length / longest)) for length in self.shape)
        cell = tuple(n * (length + INNER_GAP) - INNER_GAP for n, length in zip(self.inner, self.box, strict=True))
        heading, head, note = self.fonts[HEADING], self.fonts[HEAD], self.fonts[NOTE]
        self.row_lines = max(1, cell[1] // _line(head))
        beside = [line for row in whole[0].rows for line in wrapped(row, head, ROW_HEAD, self.row_lines)]
        beside += wrapped(whole[0].row_title, note, ROW_HEAD, 1)
        left = math.ceil(max(map(head.getlength, beside)))
        left += 2 * GAP if left else 0
        self.column_lines = max(len(wrapped(text, head, cell[0], MOST_LINES)) for text in whole[0].columns)
        room = left + min(len(whole[0].columns), 4) * (cell[0] + GAP)
        self.heading_lines = max(len(wrapped(b.heading, heading, room, MOST_LINES)) if b.heading else 0 for b in whole)
        above = self.heading_lines * _line(heading)
        if whole[0].column_title:
            above += _line(note) + self.column_lines * _line(head) + GAP // 2
        self.measure = Measure(cell, GAP, (left, above), APART, MOST)

    def _draw_block(self, sheet: Image.Image, draw: ImageDraw.ImageDraw, block: Block, x: int, y: int) -> None:
        heading, head, note = self.fonts[HEADING], self.fonts[HEAD], self.fonts[NOTE]
        (cell_width, cell_height), (left, above) = self.measure.cell, self.measure.heads
        width, _ = self.measure.size(block)
        if block.heading:
            _write(draw, (x, y), wrapped(block.heading, heading, width, self.heading_lines), heading, INK)
        foot = y + above - GAP // 2
        if block.column_title:
            top = foot - self.column_lines * _line(head) - _line(note)
            _write(draw, (x + left, top), wrapped(block.column_title, note, width - left, 1), note, FAINT)
        if block.row_title:
            _write(draw, (x, foot - _line(note)), wrapped(block.row_title, note, ROW_HEAD, 1), note, FAINT)
        for column, text in enumerate(block.columns):
            lines = wrapped(text, head, cell_width, MOST_LINES)
            _write(draw, (x + left + column * (cell_width + GAP), foot - len(lines) * _line(head)), lines, head, INK)
        for row, text in enumerate(block.rows):
            top = y + above + row * (cell_height + GAP)
            _write(draw, (x, top), wrapped(text, head, ROW_HEAD, self.row_lines), head, INK)
            for column, job in enumerate(block.cells[row]):
                self._draw_cell(sheet, draw, job, x + left + column * (cell_width + GAP), top)

    def _draw_cell(self, sheet: Image.Image, draw: ImageDraw.ImageDraw, job: Job, x: int, y: int) -> None:
        if job.id not in self.done:
            self._draw_empty(draw, "not made yet", (x, y), self.measure.cell)
            return
        found = self.done[job.id].pictures
        first = found if len(found) <= MOST_SHOWN else found[: MOST_SHOWN - 1]
        columns, rows = (
            [at * (length + INNER_GAP) for at in range(n)] for n, length in zip(self.inner, self.box, strict=True)
        )
        places = [(x + right, y + down) for down in rows for right in columns]
        for picture, (left, top) in zip(first, places, strict=False):
            small = thumbnail(self.folder / picture.file, self.box)
            if small is None:
                self._draw_empty(draw, "cannot be read", (left, top), self.box)
            else:
                sheet.paste(small, (left, top))
        if len(first) < len(found):
            self._draw_empty(draw, f"and {len(found) - len(first)} more", places[len(first)], self.box)

    def _draw_empty(self, draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int], size: tuple[int, int]) -> None:
        (x, y), (width, height), font = at, size, self.fonts[NOTE]
        draw.rectangle((x, y, x + width - 1, y + height - 1), EMPTY, EDGE)
        lines = wrapped(text, font, width - 2 * GAP, MOST_LINES)
        middle = y + (height - len(lines) * _line(font)) / 2
        for number, line in enumerate(lines):
            _write(draw, (x + (width - font.getlength(line)) / 2, middle + number * _line(font)), [line], font, FAINT)


def _write(draw: ImageDraw.ImageDraw, at: tuple[float, float], lines: Sequence[str], font: Font, colour: str) -> None:
    for number, line in enumerate(lines):
        draw.text((at[0], at[1] + number * _line(font)), line, colour, font)


def _near_square(count: int) -> tuple[int, int]:
    """Columns and rows for so many things."""
    columns = math.ceil(math.sqrt(count))
    return columns, math.ceil(count / columns)


def _line(font: Font) -> int:
    """Pixels from one line to the next."""
    return round(1.3 * font.size)
