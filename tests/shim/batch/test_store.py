"""What is in the folder of a batch is whole, or is not taken for done."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lgs.batch.errors import BatchError
from lgs.batch.plan import Job
from lgs.batch.store import open_store

JOB = Job(1, {"seed": 1}, {"1": {"class_type": "Noise", "inputs": {"seed": 1}}})
PICTURES = [(b"one" * 1000, ".png", (4, 5)), (b"two" * 1000, ".png", (4, 5))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which `JOB` is done."""
    with open_store(tmp_path / "out") as store:
        store.keep(JOB, PICTURES, 1.5)
    return tmp_path / "out"


def test_a_job_that_is_kept_is_done(folder: Path):
    with open_store(folder) as store:
        done = store.done(JOB)
        assert done.seconds == 1.5
        assert [(folder / p.file).read_bytes() for p in done.pictures] == [content for content, *_ in PICTURES]
        assert store.done(Job(1, {}, {})) is None


@pytest.mark.parametrize("file", ["pictures/{name}.png", "pictures/{name}-2.png", "jobs/{id}.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_job_is_not_done(folder: Path, file: str, damage: str):
    path = folder / file.format(id=JOB.id, name=JOB.name)
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-1] if damage == "cut" else b"[" + content[1:])
    with open_store(folder) as store:
        assert store.done(JOB) is None
        store.keep(JOB, PICTURES, None)
        assert store.done(JOB)
    assert len(list((folder / "pictures").iterdir())) == 2


def test_what_a_crash_left_half_written_is_cleared_away(folder: Path):
    half = folder / "pictures" / "abc.png.partial"
    half.write_bytes(b"half")
    with open_store(folder) as store:
        assert not half.exists()
        assert store.done(JOB)


def test_prompt_ids_are_the_folders_own(folder: Path, tmp_path: Path):
    with open_store(folder) as store:
        first = store.prompt_id(JOB)
    with open_store(folder) as store, open_store(tmp_path / "other") as other:
        assert first == store.prompt_id(JOB) != other.prompt_id(JOB)


def test_two_batches_at_once_are_refused(folder: Path):
    with open_store(folder):
        code = "import pathlib, sys; from lgs.batch.store import *; open_store(pathlib.Path(sys.argv[1])).__enter__()"
        second = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert "BatchError" in second.stderr and "no other batch is writing" in second.stderr


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(BatchError, match="expected to write there.*give another --out"), open_store(tmp_path / "file"):
        pass


def test_a_folder_of_something_else(folder: Path):
    (folder / "batch.json").write_text("{}")
    with pytest.raises(BatchError, match="expected what an earlier batch wrote"), open_store(folder):
        pass


def test_a_full_disk(folder: Path):
    """The system's limit on the size of a file stands in for it: writing fails in the middle all the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    other = Job(2, {}, {})
    with open_store(folder) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        try:
            with pytest.raises(BatchError, match="expected to write there.*Free space"):
                store.keep(other, PICTURES, None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert store.done(other) is None
        assert store.done(JOB)
