"""What is left at the end to look at: ``pictures.csv`` and ``contact-sheet.png``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont

from .plan import Axis, Job
from .store import Done, Store

TABLE, SHEET = "pictures.csv", "contact-sheet.png"
BEFORE, AFTER = ("job", "file"), ("picture_width", "picture_height", "seconds", "sha256")
"""Columns of the table beside the settings."""
SHEET_SIDE = 8192
"""Pixels. Smaller cells for more pictures keep the sheet near this."""
CELL, SMALLEST_CELL = 256, 32
MARGIN, TEXT = 4, 13
MOST_COLUMNS = 12


def write_overview(store: Store, axes: list[Axis], jobs: list[Job]) -> int:
    """Writes the table and the contact sheet of the jobs, all of which are done; gives the number of pictures."""
    done = [(job, found) for job in jobs if (found := store.done(job))]
    store.write(TABLE, table(axes, done, _kept_rows(store)).encode("utf-8"))
    sheet = io.BytesIO()
    contact_sheet(store, axes, done).save(sheet, "PNG")
    store.write(SHEET, sheet.getvalue())
    return sum(len(found.pictures) for _, found in done)


def table(axes: list[Axis], done: list[tuple[Job, Done]], earlier: Iterable[dict[str, str]] = ()) -> str:
    """One row for each picture, as CSV: its file, its settings, its size, the seconds that its job took.

    ``earlier`` rows, of other grids in the same folder, stay above, with columns of their own.
    """
    made = {p.file for _, found in done for p in found.pictures}
    rows: list[dict] = [row for row in earlier if row["file"] not in made]
    labels = {axis.label: _column(axis.label) for axis in axes}
    others = [name for row in rows for name in row if name not in (*BEFORE, *labels.values(), *AFTER)]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*BEFORE, *labels.values(), *dict.fromkeys(others), *AFTER])
    for job, found in done:
        for p in found.pictures:
            values = {column: job.settings[label] for label, column in labels.items()}
            about = [job.number, p.file, p.width, p.height, found.seconds, p.sha256]
            rows.append(values | dict(zip((*BEFORE, *AFTER), about, strict=True)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _column(label: str) -> str:
    """A setting's column; inputs of nodes may be called as the table's own."""
    return f"{label} (setting)" if label in (*BEFORE, *AFTER) else label


def _kept_rows(store: Store) -> list[dict[str, str]]:
    """Of the table that is there, those whose pictures are."""
    try:
        with (store.folder / TABLE).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, restkey="", restval=""))
    except (OSError, ValueError, csv.Error):
        return []
    rows = [{name: value for name, value in row.items() if name} for row in rows]
    return [row for row in rows if row.get("file") and (store.folder / row["file"]).is_file()]


def contact_sheet(store: Store, axes: list[Axis], done: list[tuple[Job, Done]]) -> Image.Image:
    """All pictures in the order of the jobs, each under the values of its settings.

    A row is a job's pictures where each job made several, else the values of the last axis, if they are few enough.
    """
    pictures = [(job, picture) for job, found in done for picture in found.pictures]
    varying = [axis.label for axis in axes if len(axis.values) > 1]
    counts = {len(found.pictures) for _, found in done}
    columns = max(counts) if counts != {1} else len(axes[-1].values) if axes else 1
    if not 1 < columns <= MOST_COLUMNS or len(counts) > 1:
        columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    cell = min(CELL, max(SMALLEST_CELL, SHEET_SIDE // max(columns, rows) - MARGIN))
    caption = (TEXT + 2) * len(varying) if cell >= CELL // 2 else 0
    font = ImageFont.load_default(TEXT)
    sheet = Image.new("RGB", (columns * (cell + MARGIN) + MARGIN, rows * (cell + caption + MARGIN) + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for position, (job, picture) in enumerate(pictures):
        row, column = divmod(position, columns)
        x, y = MARGIN + column * (cell + MARGIN), MARGIN + row * (cell + caption + MARGIN)
        for line, label in enumerate(varying if caption else []):
            draw.text((x, y + line * (TEXT + 2)), _fitting(f"{label} {job.settings[label]}", font, cell), "black", font)
        with Image.open(store.folder / picture.file) as opened:
            scale = min(cell / opened.width, cell / opened.height)
            size = max(1, round(opened.width * scale)), max(1, round(opened.height * scale))
            smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
            sheet.paste(opened.convert("RGB").resize(size, smooth), (x, y + caption))
    return sheet


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, cut to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
