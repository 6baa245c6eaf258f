"""Contact sheets, looked at pixel by pixel: where each job's colour is, and which words stand beside it."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from lgs.batch.lettering import fonts
from lgs.batch.plan import Job
from lgs.batch.sheet import HEAD, HEADING, INK, MARGIN, MOST, MOST_PAGES

from .plans import SIZE, shade, sheets

SCALE = 256 // SIZE[0]


class Look:
    """A page, and where what is on it."""

    def __init__(self, page: tuple[Image.Image, PngInfo]):
        file = io.BytesIO()
        page[0].save(file, "PNG", pnginfo=page[1])
        with Image.open(file) as image:
            self.plan = json.loads(image.text["plan"])
            self.pixels = np.asarray(image)
        self._numbers = self.pixels.astype(np.int32) @ [1 << 16, 1 << 8, 1]

    def boxes(self, job: Job) -> list[tuple[int, int, int, int]]:
        """Left, top, right and bottom of each area in a job's colour."""
        rows, columns = (np.unique(a) for a in np.nonzero(self._numbers == shade(job) @ np.array([1 << 16, 1 << 8, 1])))
        runs = [np.split(a, np.nonzero(np.diff(a) > 1)[0] + 1) if len(a) else [] for a in (columns, rows)]
        return [(c[0], r[0], c[-1] + 1, r[-1] + 1) for r in runs[1] for c in runs[0]]

    def box(self, job: Job) -> tuple[int, int, int, int]:
        [box] = self.boxes(job)
        return box

    def says(self, text: str, left: int, size: int = HEAD) -> list[int]:
        """At which heights a text stands that begins there."""
        [font] = fonts([text], [size])
        template = Image.new("RGB", (int(font.getlength(text)) + 1, size + 6), "white")
        ImageDraw.Draw(template).text((0, 0), text, INK, font)
        wanted = np.asarray(template)
        strip = self.pixels[:, left : left + wanted.shape[1]]
        windows = np.lib.stride_tricks.sliding_window_view(strip, wanted.shape)
        return [at for at, window in enumerate(windows[:, 0, 0]) if (window == wanted).all()]


def look(folder: Path, **plan) -> tuple[list[Job], list[Look]]:
    made, pages = sheets(folder, **plan)
    return made, [Look(page) for page in pages]


def test_one_axis_is_a_row(tmp_path: Path):
    made, [page] = look(tmp_path, text=["first", "second", "third"])
    boxes = [page.box(job) for job in made]
    assert len({(top, bottom) for _, top, _, bottom in boxes}) == 1
    assert [left for left, *_ in boxes] == sorted(left for left, *_ in boxes)
    for job, (left, top, right, bottom) in zip(made, boxes, strict=True):
        assert (right - left, bottom - top) == (SCALE * SIZE[0], SCALE * SIZE[1]), "by a whole number"
        assert any(top - 40 < at < top for at in page.says(job.settings["text"], left))


def test_two_axes_are_a_grid_with_seeds_downward(tmp_path: Path):
    for plan in ({"seed": [7, 8, 30], "text": ["x", "y"]}, {"text": ["x", "y"], "seed": [7, 8, 30]}):
        made, [page] = look(tmp_path, **plan)
        boxes = {(job.settings["text"], job.seed): page.box(job) for job in made}
        lefts = {text: {box[0] for (t, _), box in boxes.items() if t == text} for text in "xy"}
        tops = {seed: {box[1] for (_, s), box in boxes.items() if s == seed} for seed in (7, 8, 30)}
        assert all(len(side) == 1 for side in (*lefts.values(), *tops.values())), "the same seed next to itself"
        assert max(lefts["x"]) < min(lefts["y"]) and max(tops[7]) < min(tops[8]) < min(tops[30])
        assert [page.says(str(seed), MARGIN) for seed in (7, 8, 30)] == [[min(tops[seed])] for seed in (7, 8, 30)]
        assert all(page.says(text, min(lefts[text])) for text in "xy")


def test_more_axes_are_a_block_for_each_combination(tmp_path: Path):
    made, [page] = look(tmp_path, steps=[4, 9], cfg=[1.5, 3.0], text=["x", "y"], seed=[7, 8])
    corners = {}
    for job in made:
        of_block = [
            j for j in made if (j.settings["steps"], j.settings["cfg"]) == (job.settings["steps"], job.settings["cfg"])
        ]
        first = page.box(of_block[0])
        corners[job.settings["steps"], job.settings["cfg"]] = first
        across, down = job.settings["text"] == "y", job.seed == 8
        left, top, _, _ = page.box(job)
        assert (left > first[0], top > first[1]) == (across, down)
    assert len({box[:2] for box in corners.values()}) == 4
    beside = min(left for left, *_ in corners.values()) - MARGIN
    for (steps, cfg), (left, top, _, _) in corners.items():
        [at] = page.says(f"steps = {steps}, cfg = {cfg}", left - beside, HEADING)
        assert top - 4 * HEADING < at < top


def test_what_is_missing_is_shown_as_such(tmp_path: Path):
    made, [page] = look(tmp_path, most=3, text=["x", "y"], seed=[7, 8])
    assert page.boxes(made[3]) == []
    left, top = page.box(made[2])[0], page.box(made[1])[1]
    right, bottom = page.box(made[2])[2], page.box(made[1])[3]
    empty = page.pixels[top:bottom, left:right]
    colours, counts = np.unique(empty.reshape(-1, 3), axis=0, return_counts=True)
    assert tuple(colours[counts.argmax()]) == (0xF2, 0xF2, 0xF2) and len(colours) > 3, "grey, with words"
    assert [entry["files"] for entry in page.plan["jobs"]].count([]) == 1


def test_several_pictures_of_a_job_are_together(tmp_path: Path):
    made, [page] = look(tmp_path, pictures=3, text=["x", "y"], seed=[7, 8])
    for job in made:
        boxes = page.boxes(job)
        assert len(boxes) == 4, "three, in two rows and two columns"
        assert len(page.plan["jobs"][0]["files"]) == 3


def test_more_pictures_of_a_job_than_anyone_looks_at(tmp_path: Path):
    [job], [page] = look(tmp_path, pictures=40)
    assert len(page.boxes(job)) == 16
    area = (page.pixels == shade(job)).all(axis=2).sum()
    assert area == 15 * SCALE**2 * SIZE[0] * SIZE[1], "and a box that says how many more"


def test_hundreds_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lgs.batch.sheet.MOST", 1024)
    made, pages = look(tmp_path, text=list("abc"), seed=range(100))
    assert 1 < len(pages) <= MOST_PAGES
    assert [(page.plan["page"], page.plan["pages"]) for page in pages] == [
        (n + 1, len(pages)) for n in range(len(pages))
    ]
    listed = [entry["job"] for page in pages for entry in page.plan["jobs"]]
    assert len(listed) == 300 and set(listed) == {job.id for job in made}
    by_id = {job.id: job for job in made}
    for page in pages:
        assert max(page.pixels.shape[:2]) < 1024 + 200
        assert all(page.boxes(by_id[entry["job"]]) for entry in page.plan["jobs"]), "each where it says"


def test_pages_without_a_picture_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lgs.batch.sheet.MOST", 1024)
    _, pages = look(tmp_path, most=2, text=list("abc"), seed=range(100))
    assert len(pages) == 1


def test_it_says_its_plan(tmp_path: Path):
    texts = ["x" * 10_000, "line\nline", "\ud800 \u05d0", "=1"]
    made, [page] = look(tmp_path, text=texts, steps=[4], seed=[2**64 - 1, 0])
    plan = page.plan
    assert [(axis["setting"], axis["values"]) for axis in plan["axes"]] == [
        *(("text", texts), ("steps", [4]), ("seed", [2**64 - 1, 0]))
    ]
    by_id = {job.id: job for job in made}
    for entry in plan["jobs"]:
        job = by_id[entry["job"]]
        assert [a["values"][at] for a, at in zip(plan["axes"], entry["values"], strict=True)] == list(
            job.settings.values()
        )
        assert entry["files"] and all((tmp_path / file).is_file() for file in entry["files"])


@pytest.mark.parametrize(
    "plan",
    [
        {"text": ["x" * 10_000, "y " * 5_000], "seed": [1, 2]},
        {
            "seed": [1, 2],
            "cfg": [1.0, 2.0],
            "text": ["x" * 10_000, "灯台 \U0001f600 \u05de\u05d2\u05d3\u05dc", "\n\t", ""],
        },
        {"text": ["x" * 10_000, "\x00\u202e\ud800"], "steps": range(20), "cfg": [1.0, 2.0]},
        {"text": [f"{n} words " * 20 for n in range(30)], "seed": [1, 2]},
    ],
    ids=range(4),
)
def test_long_and_hostile_values(tmp_path: Path, plan: dict):
    made, pages = look(tmp_path, **plan)
    assert all(max(page.pixels.shape[:2]) < MOST + 200 for page in pages)
    assert all(any(page.boxes(job) for page in pages) for job in made)


def test_axes_of_the_same_values(tmp_path: Path):
    """1, 1.0 and true are three values, though Python takes them for one."""
    made, [page] = look(tmp_path, cfg=[1, 1.0, True], steps=[1, 2])
    assert len({page.box(job)[:2] for job in made}) == 6
