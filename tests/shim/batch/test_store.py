"""What is in the folder of a batch is whole, or is not taken for done."""

import csv
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lgs.batch.errors import BatchError
from lgs.batch.plan import Job
from lgs.batch.store import open_store

JOB = Job(1, {"seed": 1}, {"1": {"class_type": "Noise", "inputs": {"seed": 1}}}, "seed=0001", 1)
PICTURES = [(b"one" * 1000, ".png", (4, 5)), (b"two" * 1000, ".png", (4, 5))]


def job(name: str, seed: int) -> Job:
    """Another of the same workflow."""
    return Job(seed, {"seed": seed}, {"1": {"class_type": "Noise", "inputs": {"seed": seed}}}, name, seed)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in (folder / "pictures").iterdir())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "pictures.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


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


@pytest.mark.parametrize("file", ["pictures/seed=0001-1.png", "pictures/seed=0001-2.png", "jobs/{id}.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_job_is_not_done(folder: Path, file: str, damage: str):
    path = folder / file.format(id=JOB.id)
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-1] if damage == "cut" else b"[" + content[1:])
    with open_store(folder) as store:
        assert store.done(JOB) is None
        store.keep(JOB, PICTURES, None)
        assert store.done(JOB)
    assert names(folder) == ["seed=0001-1.png", "seed=0001-2.png"]


def test_what_a_crash_left_half_written_is_cleared_away(folder: Path):
    half = folder / "pictures" / "abc.png.partial"
    half.write_bytes(b"half")
    with open_store(folder) as store:
        assert not half.exists()
        assert store.done(JOB)


def test_jobs_of_one_name_that_are_kept_at_once_have_files_of_their_own(tmp_path: Path):
    made = [job("seed", number) for number in range(64)]
    with open_store(tmp_path) as store, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda job: store.keep(job, [(b"%d" % job.number, ".png", (4, 5))], None), made))
        files = [store.done(job).pictures[0].file for job in made]
    assert [(tmp_path / file).read_bytes() for file in files] == [b"%d" % job.number for job in made]
    assert sorted(row["file"] for row in rows(tmp_path)) == sorted(files)


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


@pytest.mark.parametrize(
    "name",
    ["SEED=0001", "seed=0001-1", "pictures", "seed=0001"],
    ids=["another case", "a number", "no other", "the same"],
)
def test_two_jobs_never_have_a_name_in_common(folder: Path, name: str):
    """Folders that tell no upper from lower case, too: the name is another for all of them."""
    other = job(name, 2)
    with open_store(folder) as store:
        store.keep(other, PICTURES[:1] if name.endswith("-1") else PICTURES, None)
        assert store.done(JOB) and store.done(other)
    expected = name if name == "pictures" else f"{name}_{other.id[:8]}"
    assert {file.removesuffix(".png") for file in names(folder)} - {"seed=0001-1", "seed=0001-2"} == (
        {expected} if name.endswith("-1") else {f"{expected}-1", f"{expected}-2"}
    )
    assert len({file.casefold() for file in names(folder)}) == len(names(folder))


def test_a_file_of_somebody_else_stays(folder: Path):
    (folder / "pictures" / "seed=0002.png").write_bytes(b"mine")
    (folder / "pictures" / "seed=0003.png").mkdir()
    for seed in (2, 3):
        with open_store(folder) as store:
            store.keep(job(f"seed=000{seed}", seed), PICTURES[:1], None)
            assert store.done(job("", seed)).pictures[0].file == f"pictures/seed=000{seed}_{job('', seed).id[:8]}.png"
    assert (folder / "pictures" / "seed=0002.png").read_bytes() == b"mine"


def test_a_job_that_is_made_again_keeps_its_name(folder: Path):
    """A plan that has grown calls it by another; its picture was damaged meanwhile."""
    (folder / "pictures" / "seed=0001-2.png").unlink()
    with open_store(folder) as store:
        again = Job(7, {"seed": 1, "eta": 0}, JOB.graph, "eta=0_seed=00001", 1)
        assert again.id == JOB.id and store.done(again) is None
        store.keep(again, PICTURES, None)
    assert names(folder) == ["seed=0001-1.png", "seed=0001-2.png"]
    assert [row["eta"] for row in rows(folder)] == ["0", "0"]


def test_several_pictures_sort(tmp_path: Path):
    with open_store(tmp_path) as store:
        store.keep(JOB, [(bytes([n]), ".png", (4, 5)) for n in range(12)], None)
        files = [picture.file for picture in store.done(JOB).pictures]
    assert files == sorted(files) and files[0] == "pictures/seed=0001-01.png"


def test_a_job_without_a_name_goes_by_its_id(tmp_path: Path):
    plain = Job(1, {}, {"1": {}})
    with open_store(tmp_path) as store:
        store.keep(plain, PICTURES[:1], None)
    assert names(tmp_path) == [f"{plain.id}.png"]


@pytest.mark.parametrize("file", ["../outside.png", "/etc/passwd.png", "pictures/../../x.png", "pictures/", "x.png"])
def test_a_record_that_leads_out_of_the_folder_is_none(folder: Path, file: str):
    path = folder / "jobs" / f"{JOB.id}.json"
    record = json.loads(path.read_text())
    record["pictures"][0]["file"] = file
    path.write_text(json.dumps(record))
    with open_store(folder) as store:
        assert store.done(JOB) is None
        store.keep(JOB, PICTURES, None)
    assert names(folder) == ["seed=0001-1.png", "seed=0001-2.png"]


def test_rows_say_what_is_known(folder: Path):
    with open_store(folder) as store:
        store.keep(job("seed=0002", 2), PICTURES[:1], 2.5, "0.3.64")
    first, _, last = rows(folder)
    assert (first["file"], first["seed"], first["seconds"]) == ("pictures/seed=0001-1.png", "1", "1.5")
    assert (last["comfyui_version"], last["seconds"], last["job"]) == ("0.3.64", "2.5", job("", 2).id)
    assert (last["picture_width"], last["picture_height"]) == ("4", "5")
    assert last["sha256"] == hashlib.sha256(PICTURES[0][0]).hexdigest()
    assert len(last["finished_utc"]) == len("2026-01-01 00:00:00")
    before = (folder / "pictures.csv").read_bytes()
    (folder / "pictures.csv").unlink()
    with open_store(folder):
        pass
    assert sorted(before.splitlines()) == sorted((folder / "pictures.csv").read_bytes().splitlines())


def older(folder: Path) -> list[Job]:
    """A folder as earlier releases wrote it, with two jobs; a picture of the second is damaged."""
    made = [job(f"seed=000{seed}", seed) for seed in (1, 2)]
    for sub in ("pictures", "jobs"):
        (folder / sub).mkdir()
    (folder / "batch.json").write_text('{"format": 1, "token": "8b6f3a52-3a4c-4f4e-9a0e-2f8f1f0c4f11"}')
    lines = ["job,file,seed,picture_width,picture_height,seconds,sha256"]
    for one in made:
        file = f"pictures/seed={one.seed}_{one.id}.png"
        (folder / file).write_bytes(PICTURES[0][0])
        picture = {"file": file, "width": 4, "height": 5, "sha256": hashlib.sha256(PICTURES[0][0]).hexdigest()}
        record = {"settings": one.settings, "seconds": 1.5, "pictures": [picture]}
        (folder / "jobs" / f"{one.id}.json").write_text(json.dumps(record))
        lines.append(f"{one.number},{file},{one.seed},4,5,1.5,{picture['sha256']}")
    (folder / file).write_bytes(b"damaged")
    (folder / "pictures.csv").write_text("\n".join(lines))
    return made


def test_folders_of_earlier_releases_go_on(tmp_path: Path):
    whole, damaged = older(tmp_path)
    before = names(tmp_path)
    with open_store(tmp_path) as store:
        assert store.done(whole) and not store.done(damaged)
        store.keep(damaged, PICTURES[:1], 1.5)
        store.keep(job("seed=0003", 3), PICTURES[:1], 1.5)
        assert not store.table.notes
    assert names(tmp_path) == sorted([*before, "seed=0003.png"]), "none renamed, none twice"
    assert [(row["job"], row["seed"]) for row in rows(tmp_path)] == [
        *((whole.id, "1"), (damaged.id, "2"), (job("", 3).id, "3"))
    ]


def keep_and_be_killed(folder: Path, moment: int) -> bool:
    """Keeps two jobs of one name in a process of its own, which is killed before it opens, renames or removes a file
    for the n-th time. Whether it came to its end before that."""
    left = moment

    def hook(event: str, _arguments: tuple) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir"):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        with open_store(folder) as store:
            sys.addaudithook(hook)
            store.keep(JOB, PICTURES, 1.5)
            store.keep(job("seed=0001", 2), PICTURES[:1], 1.5)
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == 0


def test_killed_at_any_moment_nothing_is_lost_or_twice(tmp_path: Path):
    """A table that is cut off within a row: `test_table`. A picture that is has another name until it is whole."""
    ended, moment = False, 0
    while not ended:
        folder = tmp_path / str(moment)
        with open_store(folder):
            pass
        ended = keep_and_be_killed(folder, moment)
        with open_store(folder) as store:
            for one, contents in ((JOB, PICTURES), (job("seed=0001", 2), PICTURES[:1])):
                if store.done(one) is None:
                    store.keep(one, contents, 1.5)
                assert [(folder / p.file).read_bytes() for p in store.done(one).pictures] == [c for c, *_ in contents]
        assert len(names(folder)) == 3 and {"seed=0001-1.png", "seed=0001-2.png"} < set(names(folder)), moment
        assert sorted(row["file"] for row in rows(folder)) == [f"pictures/{name}" for name in names(folder)], moment
        assert not list(folder.glob("**/*.partial"))
        moment += 1
    assert moment > 10
