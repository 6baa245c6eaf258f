"""Plans that are run without a ComfyUI: each job's picture is drawn here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lgs.batch.overview import Overview, write_overview
from lgs.batch.plan import Axis, Graph, Job, jobs
from lgs.batch.sheet import Sheets
from lgs.batch.store import Done, Picture, open_store
from lgs.batch.table import TABLE

GRAPH: Graph = {"1": {"class_type": "Noise", "inputs": {"seed": 0, "text": "", "steps": 4, "cfg": 1.0}}}
SIZE = (40, 24)


def axes(**settings: Sequence) -> list[Axis]:
    return [Axis(name, "1", name, tuple(values)) for name, values in settings.items()]


def shade(job: Job) -> tuple[int, int, int]:
    """A colour of its own for each of a few thousand jobs."""
    return 40 + 12 * (job.number // 16 % 16), 40 + 12 * (job.number % 16), 255 - job.number // 256


def png(colour: tuple[int, int, int], graph: Graph, size: tuple[int, int] = SIZE) -> bytes:
    out, info = io.BytesIO(), PngInfo()
    info.add_text("prompt", json.dumps(graph))
    Image.new("RGB", size, colour).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def run(folder: Path, most: int | None = None, pictures: int = 1, **settings: Sequence) -> tuple[list[Job], Overview]:
    """Runs the first ``most`` jobs of a plan, or all."""
    plan = axes(**settings)
    made = jobs(GRAPH, plan)
    with open_store(folder) as store:
        for job in made[:most]:
            if store.done(job) is None:
                store.keep(job, [(png(shade(job), job.graph), ".png", SIZE)] * pictures, 1.0)
        return made, write_overview(store, plan, made)


def sheets(folder: Path, most: int | None = None, pictures: int = 1, **settings: Sequence) -> tuple[list[Job], Sheets]:
    """The contact sheets of the first ``most`` jobs of a plan, or of all, with pictures that are in no store."""
    plan = axes(**settings)
    made, done = jobs(GRAPH, plan), {}
    for job in made[:most]:
        file = folder / f"{job.number}.png"
        file.write_bytes(png(shade(job), job.graph))
        done[job.id] = Done(1.0, [Picture(file.name, *SIZE, "")] * pictures)
    return made, Sheets(folder, plan, made, done)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))
