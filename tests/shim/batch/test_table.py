"""The table of a folder: read back as it was meant, whole whatever cut it off, and a place for others' notes."""

import csv
import io
import os
import tempfile
from pathlib import Path

import pytest

from lgs.batch.table import AFTER, BEFORE, LONGEST_CELL, TABLE, Table, cell, column


def row(folder: Path, number: int, **settings: object) -> dict:
    """Of a picture that is there."""
    file = folder / "pictures" / f"{number}.png"
    file.parent.mkdir(exist_ok=True)
    file.touch()
    return {"file": f"pictures/{file.name}", "job": f"job{number}", "seed": number, "seconds": 1.5} | settings


def rows(folder: Path) -> list[dict[str, str]]:
    """As a reader of CSV has them that knows of the mark."""
    with (folder / TABLE).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_it_grows_row_by_row_and_stays_as_it_was(tmp_path: Path):
    table, before = Table(tmp_path, []), b""
    assert not (tmp_path / TABLE).exists()
    for number in (1, 2, 3):
        table.add([row(tmp_path, number, cfg=number / 2)])
        content = (tmp_path / TABLE).read_bytes()
        assert content.startswith(before) and content != before
        before = content
    assert [(r["seed"], r["cfg"]) for r in rows(tmp_path)] == [("1", "0.5"), ("2", "1.0"), ("3", "1.5")]
    assert before.startswith(b"\xef\xbb\xbffile,job,cfg,seed,") and before.endswith(b"\r\n")
    assert not list(tmp_path.glob("*.partial"))


def test_a_new_setting_has_its_column(tmp_path: Path):
    table = Table(tmp_path, [])
    table.add([row(tmp_path, 1, cfg=1)])
    table.add([row(tmp_path, 2, cfg=1, steps=8)])
    assert [(r["cfg"], r["steps"]) for r in rows(tmp_path)] == [("1", ""), ("1", "8")]
    assert list(rows(tmp_path)[0]) == [*BEFORE, "cfg", "steps", *AFTER]
    table.add([row(tmp_path, 1, steps=4)])
    assert [(r["cfg"], r["steps"]) for r in rows(tmp_path)] == [("1", "4"), ("1", "8")]


TEXTS = [
    "a, b; c\td",
    'say "hi"',
    "line\nline\r\nline\rline",
    "\U0001f600 灯台 été",
    "\u202eמגדלור",
    "x" * 10_000,
    "C:\\x/../y",
    " ",
    "",
    "007",
    "1e5",
]
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", "'=1", "=cmd|' /C calc'!A0", "\n-x"]


@pytest.mark.parametrize("text", TEXTS + FORMULAS)
def test_texts_come_back(tmp_path: Path, text: str):
    table = Table(tmp_path, [])
    table.add([row(tmp_path, 1, text=text)])
    table.add([row(tmp_path, 2, text="after")])
    read = [r["text"] for r in rows(tmp_path)]
    assert read == [f"'{text}" if text in FORMULAS else text, "after"]
    assert read[0][:1] not in ("=", "+", "-", "@", "\t", "\r", "\n")
    assert Table(tmp_path, [row(tmp_path, 1, text=text)]).path.read_bytes() == table.path.read_bytes()


def test_numbers_stay_numbers():
    assert [cell(value) for value in (-1, -0.5, 2**64, True, None)] == ["-1", "-0.5", str(2**64), "true", ""]


def test_what_no_table_holds():
    assert cell("a\x00b\ud800") == "a\ufffdb\ufffd"
    assert len(cell("=" * 200_000)) == LONGEST_CELL and cell("x" * 200_000).endswith("…")


def test_names_of_settings_that_are_no_columns(tmp_path: Path):
    assert column("seconds") == "seconds (setting)" and column("file") == "file (setting)"
    assert column("seed") == "seed" and column("=1") == "'=1"
    Table(tmp_path, []).add([row(tmp_path, 1) | {column(label): 7 for label in ("seconds", "a,b", "=1", 'c"\n')}])
    assert [rows(tmp_path)[0][name] for name in ("seconds", "seconds (setting)", "a,b", "'=1", 'c"\n')] == [
        *("1.5", "7", "7", "7", "7")
    ]


def test_cut_off_anywhere_it_is_whole_again(tmp_path: Path):
    known = [row(tmp_path, number, text=f'line "{number}"\r\nline, é', steps=number) for number in (1, 2)]
    Table(tmp_path, known)
    whole = (tmp_path / TABLE).read_bytes()
    for length in range(len(whole)):
        (tmp_path / TABLE).write_bytes(whole[:length])
        Table(tmp_path, known)
        if length >= whole.index(b"\r\n"):  # the first line comes whole: with the file
            assert (tmp_path / TABLE).read_bytes() == whole
        assert [r["text"] for r in rows(tmp_path)] == [r["text"] for r in known]


def test_rows_of_pictures_that_are_gone_go(tmp_path: Path):
    known = [row(tmp_path, number) for number in (1, 2)]
    Table(tmp_path, known)
    (tmp_path / known[0]["file"]).unlink()
    Table(tmp_path, known[1:])
    assert [r["seed"] for r in rows(tmp_path)] == ["2"]


def test_what_is_as_it_should_be_is_not_written(tmp_path: Path):
    known = [row(tmp_path, 1)]
    Table(tmp_path, known).add(known)
    before = (tmp_path / TABLE).stat()
    Table(tmp_path, known).add(known)
    after = (tmp_path / TABLE).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def saved_by_others(folder: Path, delimiter: str, encoding: str) -> None:
    """The table with a column of notes, its rows turned, and one of its numbers rounded."""
    read = rows(folder)
    with (folder / TABLE).open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow([*read[0], "stars", "", ""])
        for r in reversed(read):
            writer.writerow([*(r | {"seed": "1,23E+18"}).values(), f"{r['cfg']} stars", "", "no name"])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("between", [True, False])
def test_notes_of_others_are_kept(tmp_path: Path, delimiter: str, between: bool):
    known = [row(tmp_path, number, cfg=number) for number in (1, 2)]
    table = Table(tmp_path, known)
    saved_by_others(tmp_path, delimiter, "utf-8")
    if between:
        table = Table(tmp_path, known)
    table.add([row(tmp_path, 3, cfg=3)])
    assert [(r["seed"], r["stars"], r["column 13"]) for r in rows(tmp_path)] == [
        *(("2", "2 stars", "no name"), ("1", "1 stars", "no name"), ("3", "", ""))
    ]
    assert list(rows(tmp_path)[0])[:4] == [*BEFORE, "cfg", "seed"]
    assert not table.notes


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"a,b\n1,2,3\n", b'"', b"\x00", "été;x\n".encode("latin-1"), b"x" * 200_000]
)
def test_what_is_no_table_is_set_aside(tmp_path: Path, content: bytes):
    for number in (1, 2):
        (tmp_path / TABLE).write_bytes(content)
        table = Table(tmp_path, [row(tmp_path, 1)])
        assert [r["seed"] for r in rows(tmp_path)] == ["1"]
        assert (tmp_path / f"pictures-old-{number}.csv").read_bytes() == content
        assert f"pictures-old-{number}.csv" in "".join(table.notes.values())


@pytest.mark.parametrize(
    "content", [b"", b"file\n", b"file\npictures/gone.png\n", b"file\n" + b"x" * 5000 + b"\n,\n\n"]
)
def test_what_has_nothing_of_use_is_written_anew(tmp_path: Path, content: bytes):
    (tmp_path / TABLE).write_bytes(content)
    table = Table(tmp_path, [row(tmp_path, 1)])
    assert [r["seed"] for r in rows(tmp_path)] == ["1"]
    assert not table.notes and not list(tmp_path.glob("*old*"))


def test_a_table_that_was_deleted_meanwhile(tmp_path: Path):
    table = Table(tmp_path, [row(tmp_path, 1)])
    table.path.unlink()
    table.add([row(tmp_path, 2)])
    assert [r["seed"] for r in rows(tmp_path)] == ["1", "2"]


def test_a_table_that_another_program_keeps_for_itself():
    """A folder in which one may not write stands in for Excel on Windows: the system says the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = Table(folder, [row(folder, 1)])
        new = row(folder, 2)
        before = table.path.read_bytes()
        table.path.chmod(0o444)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:  # who may write anywhere
            os.seteuid(65534)
        try:
            table.add([new])
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
        assert table.path.read_bytes() == before
        assert "another program keeps it for itself" in "".join(table.notes.values())
        table.add([row(folder, 3)])
        assert [r["seed"] for r in rows(folder)] == ["1", "2", "3"]
        assert not table.notes


def test_csv_of_another_reader(tmp_path: Path):
    """By the rules of RFC 4180 themselves, which need no library where no cell is quoted."""
    Table(tmp_path, [row(tmp_path, 1, cfg=2)])
    header, line, end = io.StringIO((tmp_path / TABLE).read_text("utf-8-sig"), newline="").read().split("\n")
    assert dict(zip(header.split(","), line.split(","), strict=True))["cfg"] == "2" and not end
