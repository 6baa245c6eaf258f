"""The folder of the results: what is in it is whole, whatever was killed and when.

    batch.json             says that this folder is one, and which
    pictures/NAME.png      the bytes that ComfyUI wrote, by the job's settings (NAME-2.png where a job makes several)
    jobs/JOB.json          written last: the job's settings, its pictures and their SHA-256

A job is done when its record is there and its pictures have the bytes that the record says. Every file is
written beside its place, flushed to the disk, and renamed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import BatchError
from .plan import Job
from .untrusted import decoded

PARTIAL = ".partial"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A finished picture."""

    file: str
    """Relative to the folder."""
    width: int
    height: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Done:
    """A finished job."""

    seconds: float | None
    """How long ComfyUI took; None where it does not say."""
    pictures: list[Picture]


class Store:
    """One folder, held by one run at a time: see `open_store`."""

    def __init__(self, folder: Path, token: str):
        self.folder = folder
        self.token = token

    def prompt_id(self, job: Job) -> str:
        """The job's name in ComfyUI, the same after a crash; another in another folder, which starts afresh."""
        return str(uuid.uuid5(uuid.UUID(self.token), job.id))

    def done(self, job: Job) -> Done | None:
        """The job's record, if it is finished and whole."""
        try:
            record = decoded((self.folder / "jobs" / f"{job.id}.json").read_bytes())
            done = Done(record["seconds"], [Picture(**picture) for picture in record["pictures"]])
            whole = all(_sha256((self.folder / p.file).read_bytes()) == p.sha256 for p in done.pictures)
        except PermissionError as error:
            raise BatchError(f"{error.filename}: expected a file of this batch, and it cannot be read.") from error
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return done if whole else None

    def keep(self, job: Job, contents: list[tuple[bytes, str, tuple[int, int]]], seconds: float | None) -> None:
        """Writes a job's pictures, given as (bytes, suffix, (width, height)), then its record."""
        pictures = []
        for number, (content, suffix, (width, height)) in enumerate(contents, start=1):
            file = f"pictures/{job.name}{f'-{number}' if number > 1 else ''}{suffix}"
            self.write(file, content)
            pictures.append(Picture(file, width, height, _sha256(content)))
        record = {"settings": job.settings, "seconds": seconds, "pictures": [dataclasses.asdict(p) for p in pictures]}
        self.write(f"jobs/{job.id}.json", json.dumps(record, indent=2).encode())

    def write(self, file: str, content: bytes) -> None:
        """Writes a file, whole or not at all."""
        path = self.folder / file
        partial = path.with_name(path.name + PARTIAL)
        with writing(path):
            with partial.open("wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            partial.replace(path)


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
        for partial in folder.glob(f"*/*{PARTIAL}"):
            partial.unlink()
        yield Store(folder, _token(folder))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system says of a folder that cannot be written to, or a full disk, into a BatchError."""
    try:
        yield
    except OSError as error:
        raise BatchError(
            f"{path}: expected to write there, and the system says: {error.strerror}. Free space, fix the permissions "
            "or give another --out, and run the same command again: the pictures that are finished are kept."
        ) from error


def _token(folder: Path) -> str:
    file = folder / "batch.json"
    if not file.exists():
        Store(folder, "").write(file.name, json.dumps({"format": 1, "token": str(uuid.uuid4())}).encode())
    try:
        batch = decoded(file.read_bytes())
        return str(uuid.UUID(batch["token"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BatchError(
            f"{file}: expected what an earlier batch wrote there, got something else ({error}). Give another --out, or "
            "delete the file: the pictures that are finished are kept."
        ) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
