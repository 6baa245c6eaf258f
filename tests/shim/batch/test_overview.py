"""What is left to look at: names that people read, and a table that grows with the folder."""

import csv
import io
from pathlib import Path

from PIL import Image

from lgs.batch.overview import SHEET, TABLE, write_overview
from lgs.batch.plan import Axis, jobs
from lgs.batch.store import open_store

GRAPH = {"1": {"class_type": "Noise", "inputs": {"seed": 0, "text": "", "steps": 4}}}


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8), shade).save(out, "PNG")
    return out.getvalue()


def grid(folder: Path, **settings: list) -> list[dict[str, str]]:
    """Runs a grid, each job's picture being made here; gives the table."""
    axes = [Axis(name, "1", name, tuple(values)) for name, values in settings.items()]
    made = jobs(GRAPH, axes)
    with open_store(folder) as store:
        for job in made:
            if store.done(job) is None:
                store.keep(job, [(png(job.number), ".png", (8, 8))], 1.0)
        write_overview(store, axes, made)
    return list(csv.DictReader((folder / TABLE).read_text().splitlines()))


def test_a_picture_s_name_says_its_settings(tmp_path):
    rows = grid(tmp_path, seed=[1, 2], text=["a lighthouse, evening", "../../x\n"])
    names = [Path(row["file"]).name for row in rows]
    assert [name.rpartition("_")[0] for name in names] == [
        "seed=1_text=a-lighthouse-evening",
        "seed=1_text=..-..-x-",
        "seed=2_text=a-lighthouse-evening",
        "seed=2_text=..-..-x-",
    ]
    assert {file.name for file in (tmp_path / "pictures").iterdir()} == set(names)


def test_settings_that_read_alike_have_files_of_their_own(tmp_path):
    rows = grid(
        tmp_path,
        text=["a b", "a/b", "a" * 500, "a" * 501, "\u00e9t\u00e9", "", "\x00", "\u706f" * 200, "\U0001f600" * 200],
    )
    assert len({row["file"] for row in rows}) == len(list((tmp_path / "pictures").iterdir())) == 9


def test_a_setting_with_the_name_of_a_column(tmp_path):
    for rows in (grid(tmp_path, seconds=[1, 2]), grid(tmp_path, seconds=[1, 2])):
        assert [(row["seconds (setting)"], row["seconds"]) for row in rows] == [("1", "1.0"), ("2", "1.0")]


def test_a_second_grid_adds_to_the_table(tmp_path):
    first = grid(tmp_path, seed=[1, 2])
    second = grid(tmp_path, seed=[3], steps=[5, 6])
    assert [row["file"] for row in second[:2]] == [row["file"] for row in first]
    assert [(row["seed"], row["steps"]) for row in second] == [("1", ""), ("2", ""), ("3", "5"), ("3", "6")]
    third = [row["file"] for row in grid(tmp_path, seed=[1, 2])]
    assert third == [row["file"] for row in second[2:] + first], "the newest grid below, each picture once"
    assert (tmp_path / SHEET).is_file()


def test_what_is_no_table_is_written_anew(tmp_path):
    grid(tmp_path, seed=[1])
    for content in (b"\xff\xfe", b"", b"a,b\n1,2,3\n", b'"', b"file\npictures/gone.png\n"):
        (tmp_path / TABLE).write_bytes(content)
        assert [row["seed"] for row in grid(tmp_path, seed=[1])] == ["1"]
