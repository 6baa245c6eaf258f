"""What is left to look at: names that people read, a table and sheets that grow with the folder."""

from pathlib import Path

import pytest
from PIL import Image

from .plans import rows, run


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "pictures").iterdir())


def test_a_picture_s_name_says_its_settings(tmp_path: Path):
    run(tmp_path, text=["a lighthouse, evening", "../../x\n"], seed=[1, 2], steps=[8])
    assert names(tmp_path) == [
        "text=a-lighthouse-evening_seed=0001.png",
        "text=a-lighthouse-evening_seed=0002.png",
        "text=x_seed=0001.png",
        "text=x_seed=0002.png",
    ]
    assert [Path(row["file"]).name for row in rows(tmp_path)] == names(tmp_path)


def test_names_sort_as_the_plan(tmp_path: Path):
    run(tmp_path, cfg=[1.5, 2, 10], seed=range(8, 13))
    assert [f"pictures/{name}" for name in names(tmp_path)] == [row["file"] for row in rows(tmp_path)]


def test_settings_that_read_alike_have_files_of_their_own(tmp_path: Path):
    texts = ["a b", "a/b", "A B", "a" * 500, "a" * 501, "\u00e9t\u00e9", "e\u0301te\u0301", "", "\x00", "\u706f" * 200]
    run(tmp_path, text=[*texts, "\U0001f600" * 200, "=1+1", "\u202egnp", "x" * 10_000])
    assert len({name.casefold() for name in names(tmp_path)}) == 14
    assert {row["file"] for row in rows(tmp_path)} == {f"pictures/{name}" for name in names(tmp_path)}


PLANS = [
    {"seed": [1, 2]},
    {"seed": range(1, 13)},
    {"seed": range(1, 13), "steps": [4, 10]},
    {"steps": [4, 10], "text": ["", "x"], "seed": [1, 2, 20_000]},
    {"seed": [1, 2]},
    {"seed": [0]},
    {},
]


def test_a_plan_that_grows_finds_what_is_there(tmp_path: Path):
    """By further values, by further settings, and back. A picture is made once, and never renamed."""
    known: dict[str, bytes] = {}
    ids: set[str] = set()
    for plan in PLANS:
        made, overview = run(tmp_path, **plan)
        files = {name: (tmp_path / "pictures" / name).read_bytes() for name in names(tmp_path)}
        assert files.items() >= known.items()
        ids |= {job.id for job in made}
        assert overview.done == overview.jobs == len(made)
        assert len(files) == len(rows(tmp_path)) == len(ids)
        assert [row["file"] for row in rows(tmp_path)][: len(known)] == [f"pictures/{name}" for name in known]
        known = {row["file"].removeprefix("pictures/"): b"" for row in rows(tmp_path)}
        known = {name: files[name] for name in known}
    assert {row["job"] for row in rows(tmp_path)} == ids
    assert {"seed=0001.png", "seed=0012.png", "seed=0012_steps=10.png", "steps=10_text=x_seed=20000.png"} < set(known)
    by_file = {Path(row["file"]).stem: row for row in rows(tmp_path)}
    assert by_file["seed=0001"]["steps"] == "4", "known since a later plan has it"
    assert by_file["seed=0003"]["text"] == "" and by_file["seed=0003"]["seed"] == "3"


def test_another_workflow_in_the_same_folder_has_names_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(tmp_path, seed=[1, 2])
    monkeypatch.setitem(run.__globals__, "GRAPH", {"1": {"class_type": "Noise", "inputs": {"seed": 0, "text": "new"}}})
    made, _ = run(tmp_path, seed=[1, 2])
    assert names(tmp_path) == sorted(
        ["seed=0001.png", "seed=0002.png", *(f"seed=000{job.seed}_{job.id[:8]}.png" for job in made)]
    )


def test_a_second_run_changes_nothing(tmp_path: Path):
    run(tmp_path, seed=[1, 2], steps=[4, 5])
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    run(tmp_path, seed=[1, 2], steps=[4, 5])
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_sheets_of_an_earlier_plan_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lgs.batch.sheet.MOST", 700)
    _, overview = run(tmp_path, seed=range(30), cfg=[1.0, 2.0])
    assert overview.sheets == ["contact-sheet-1.png", "contact-sheet-2.png"]
    assert {file.name for file in tmp_path.glob("*.png")} == set(overview.sheets)
    (tmp_path / "contact-sheet-of-mine.png").touch()
    _, overview = run(tmp_path, seed=[1, 2])
    assert overview.sheets == ["contact-sheet.png"]
    assert {file.name for file in tmp_path.glob("*.png")} == {"contact-sheet.png", "contact-sheet-of-mine.png"}


def test_nothing_done_leaves_no_sheet(tmp_path: Path):
    _, overview = run(tmp_path, most=0, seed=[1, 2])
    assert overview.sheets == [] and not overview.pictures
    assert not list(tmp_path.glob("contact-sheet*"))


def test_as_far_as_it_went(tmp_path: Path):
    _, overview = run(tmp_path, most=3, seed=[1, 2, 3, 4], pictures=2)
    assert (overview.pictures, overview.done, overview.jobs) == (6, 3, 4)
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        sheet.load()
