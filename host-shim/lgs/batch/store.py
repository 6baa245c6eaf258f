"""The folder of the results: what is in it is whole, whatever was killed and when.

    batch.json             says that this folder is one, and which
    pictures/NAME.png      the bytes that ComfyUI wrote, by what tells the job apart (NAME-1.png, NAME-2.png where a job
                           makes several)
    jobs/JOB.json          the job's settings, the names of its pictures and their SHA-256
    pictures.csv           the same as a table: see `table`

A job is done when its record is there and its pictures have the bytes that the record says. The record is written
before them: from then on the names are the job's own, and if it is made again they are again. Which names an earlier
run gave, in whatever manner, is of no matter: pictures are found by their records. Every file but the table is written
beside its place, flushed to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from os.path import isfile
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter

from .errors import BatchError
from .files import PARTIAL, write_whole, writing
from .names import folded
from .plan import Job
from .table import FILE, Table, column
from .untrusted import decoded

SHORT_ID = 8
"""Characters of a job's id, in the names of its pictures where others have the name."""

Contents = list[tuple[bytes, str, tuple[int, int]]]
"""A job's pictures as they come: bytes, suffix, (width, height)."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A finished picture."""

    file: Annotated[str, Field(pattern=r"^pictures/[^/\\]+\.\w+$")]
    """Relative to the folder, and nowhere else."""
    width: int
    height: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Done:
    """A finished job."""

    seconds: float | None
    """How long ComfyUI took; None where it does not say."""
    pictures: list[Picture]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What a job's file says. What may be missing, earlier releases left out."""

    settings: dict[str, Any]
    seed: int | None = None
    seconds: int | float | None
    comfyui_version: str | None = None
    finished_utc: str | None = None
    pictures: list[Picture]


_RECORD = TypeAdapter(Record)


class Store:
    """One folder, held by one run at a time: see `open_store`."""

    def __init__(self, folder: Path, token: str):
        self.folder = folder
        self.token = token
        self._bookkeeping = threading.Lock()
        """Of names and the table."""
        records = {}
        for file in sorted(folder.glob("jobs/*.json")):
            with contextlib.suppress(ValueError), _reading():
                records[file.stem] = _read(file)
        self._files = {job: [picture.file for picture in record.pictures] for job, record in records.items()}
        """The names of each job's pictures."""
        self._owners = {folded(file): job for job, files in self._files.items() for file in files}
        """The job that has a name."""
        finished = [
            (job, record)
            for job, record in sorted(records.items(), key=lambda item: item[1].finished_utc or "")
            if all(isfile(folder / picture.file) for picture in record.pictures)
        ]
        self.table = Table(folder, [row for job, record in finished for row in _rows(job, record)])

    def prompt_id(self, job: Job) -> str:
        """The job's name in ComfyUI, the same after a crash; another in another folder, which starts afresh."""
        return str(uuid.uuid5(uuid.UUID(self.token), job.id))

    def done(self, job: Job) -> Done | None:
        """The job's record, if it is finished and whole."""
        try:
            with _reading():
                record = _read(self.folder / "jobs" / f"{job.id}.json")
                whole = all(_sha256((self.folder / p.file).read_bytes()) == p.sha256 for p in record.pictures)
        except (FileNotFoundError, ValueError):
            return None
        return Done(record.seconds, record.pictures) if whole else None

    def keep(self, job: Job, contents: Contents, seconds: float | None, comfyui_version: str | None = None) -> None:
        """Writes a job's record, then its pictures, then their rows of the table.

        Several threads may keep jobs at once: while the disk flushes the files of one it takes those of others."""
        with self._bookkeeping, _reading():
            files = self._names(job, contents)
            self._files[job.id] = files
            self._owners |= {folded(file): job.id for file in files}
        pictures = [
            Picture(file, width, height, _sha256(content))
            for file, (content, _, (width, height)) in zip(files, contents, strict=True)
        ]
        record = Record(
            settings=job.settings,
            seed=job.seed,
            seconds=seconds,
            comfyui_version=comfyui_version,
            finished_utc=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            pictures=pictures,
        )
        self.write(f"jobs/{job.id}.json", json.dumps(dataclasses.asdict(record), indent=2).encode())
        for file, (content, _, _) in zip(files, contents, strict=True):
            self.write(file, content)
        with self._bookkeeping:
            self.table.add(_rows(job.id, record))

    def describe(self, done: Iterable[tuple[Job, Done]]) -> None:
        """Puts into the table what the plan of this run says of jobs, also of those that an earlier one finished."""
        rows = []
        for job, found in done:
            known = Record(settings=job.settings, seed=job.seed, seconds=found.seconds, pictures=found.pictures)
            rows += _rows(job.id, known)
        self.table.add(rows)

    def write(self, file: str, content: bytes) -> None:
        """Writes a file, whole or not at all."""
        write_whole(self.folder / file, content)

    def _names(self, job: Job, contents: Contents) -> list[str]:
        """The names that a job's pictures have, or new ones that no others have, in any file system."""
        suffixes = [suffix for _, suffix, _ in contents]
        before = self._files.get(job.id, [])
        if [PurePosixPath(file).suffix for file in before] == suffixes:
            return before
        name, width = job.name or job.id, len(str(len(contents)))
        for stem in (name, f"{name}_{job.id[:SHORT_ID]}", f"{name}_{job.id}"):
            numbered = [f"{stem}-{number:0{width}d}" for number in range(1, len(contents) + 1)]
            stems = numbered if len(contents) > 1 else [stem]
            files = [f"pictures/{each}{suffix}" for each, suffix in zip(stems, suffixes, strict=True)]
            if all(self._free(file, job, content) for file, (content, _, _) in zip(files, contents, strict=True)):
                break
        return files

    def _free(self, file: str, job: Job, content: bytes) -> bool:
        """Whether a name is this job's or nobody's. A file that has it is somebody else's, unless it has these bytes:
        then it is the job's own, and has lost its record."""
        owner = self._owners.get(folded(file))
        if owner is not None:
            return owner == job.id
        path = self.folder / file
        return not path.exists() or (path.is_file() and path.read_bytes() == content)


@contextmanager
def open_store(folder: Path) -> Iterator[Store]:
    """The store of a folder, made if there is none, and locked. Raises BatchError."""
    lock = FileLock(folder / ".lock")
    with writing(folder):
        for name in ("pictures", "jobs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BatchError(
                f"{folder}: expected a folder that no other batch is writing to, got one that is in use. Wait for the "
                "other to end, stop it, or give another --out."
            ) from None
    with lock:
        for partial in (*folder.glob(f"*{PARTIAL}"), *folder.glob(f"*/*{PARTIAL}")):
            partial.unlink()
        yield Store(folder, _token(folder))


def _token(folder: Path) -> str:
    file = folder / "batch.json"
    if not file.exists():
        write_whole(file, json.dumps({"format": 1, "token": str(uuid.uuid4())}).encode())
    try:
        batch = decoded(file.read_bytes())
        return str(uuid.UUID(batch["token"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BatchError(
            f"{file}: expected what an earlier batch wrote there, got something else ({error}). Give another --out, or "
            "delete the file: the pictures that are finished are kept."
        ) from error


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise BatchError(f"{error.filename}: expected a file of this batch, and it cannot be read.") from error


def _read(file: Path) -> Record:
    """A job's record. Raises ValueError where it is damaged."""
    return _RECORD.validate_python(decoded(file.read_bytes()))


def _rows(job: str, record: Record) -> list[dict]:
    """The rows of a job's pictures, with what is known of them."""
    settings = {column(label): value for label, value in record.settings.items()}
    about = {"seconds": record.seconds, "comfyui_version": record.comfyui_version, "finished_utc": record.finished_utc}
    rows = [
        {FILE: p.file, "job": job, "seed": record.seed}
        | settings
        | {"picture_width": p.width, "picture_height": p.height, "sha256": p.sha256}
        | about
        for p in record.pictures
    ]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
