"""What a section of the report is given, and what it gives."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib

import lgs

Numbers = dict[str, Any]
"""What a section has measured: plain data, as it stands in ``report.json``."""


class Unavailable(Exception):
    """Something that a section needs is not on this machine; the message says what, and how to get it."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of ``make report``.

    What is measured through `cached` is kept in the folder, so that a run that was broken off goes on
    where it was. ``quick``: little of everything, to see whether it runs.
    """

    out: Path
    quick: bool = False
    so_far: Callable[[Numbers], None] = lambda numbers: None
    """Puts on the page what a long section has measured so far."""

    def cached(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, called once for each set of arguments, in this run or an earlier one.

        It is defined at the top of a module, and gives the same for the same arguments. Give it a
        `digest` of the files on which its answer depends as an argument, too; of its own code alone
        changes are noticed.
        """
        return joblib.Memory(self.out / "cache", verbose=0).cache(function)


def digest(*files: Path) -> str:
    """A name for the contents of files."""
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def libraries() -> list[Path]:
    """The files that the product's noise comes from, for the `digest` of what is measured of it."""
    return sorted(Path(lgs.info()["library"]).parent.glob("*lgs*"))


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture of the report, saved as a PNG in its folder."""

    file: Path
    title: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers to read, a row for each case; cells are texts."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a section comes to, for the page."""

    sentences: list[str]
    """What was found, for the full covariance and against it, in words with numbers."""
    figures: list[Figure]
    tables: list[Table]


@dataclasses.dataclass(frozen=True)
class Section:
    """A question and how it is answered."""

    id: str
    title: str
    question: str
    measure: Callable[[Run], Numbers]
    """Does the work, with a progress bar. Raises `Unavailable` where this machine cannot."""
    show: Callable[[Numbers, Path], Findings]
    """Draws figures into a folder and says what the numbers mean. Takes a second, and no models."""
    remarks: tuple[str, ...] = ()
    """For the committed evidence: what its authors conclude, and what to keep in mind; no numbers of its own."""
