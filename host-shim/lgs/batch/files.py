"""Files that are whole or not there, whatever was killed and when; and what to do where none can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BatchError

PARTIAL = ".partial"
"""Ends the name of a file that is being written."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place, flushes it to the disk, and renames it. Raises BatchError."""
    with writing(path):
        replace(path, content)


def replace(path: Path, content: bytes) -> None:
    """The same; raises OSError."""
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)


def append(path: Path, content: bytes) -> None:
    """Adds to the end of a file and flushes it to the disk; cut off, it leaves a part of it. Raises OSError."""
    with path.open("ab") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


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
