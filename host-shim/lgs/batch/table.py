"""``pictures.csv``: a row for each picture, appended when it arrives.

UTF-8 with a byte order mark, commas, and line ends as RFC 4180 has them: Excel and pandas read it as it is. A row is
appended and flushed to the disk; whatever cuts that off, the next run makes the table whole again from the store's
records. Rows and columns keep their places, so that a version control shows what is new, and columns that somebody
added are kept.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable
from os.path import isfile
from pathlib import Path

from .files import append, replace, writing

TABLE = "pictures.csv"
FILE = "file"
BEFORE = (FILE, "job")
AFTER = ("seed", "picture_width", "picture_height", "seconds", "comfyui_version", "finished_utc", "sha256")
"""Columns beside the settings, which are between them. Widths are settings, too: these are the pictures' own."""
MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""The byte order mark, without which Excel takes UTF-8 for something older."""
LONGEST_CELL = 32_767
"""Characters: Excel goes on in the next row."""

_FORMULA = re.compile(r"\s*[=+\-@\t\r\n'＝＋－＠]")
"""What spreadsheets run, and what hides it from them: https://owasp.org/www-community/attacks/CSV_Injection."""
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What CSV, or UTF-8, has no place for."""

Row = dict[str, str]


class Table:
    """The table of a folder, made whole when it is opened: with ``rows``, {column: value} of each picture there is."""

    def __init__(self, folder: Path, rows: Iterable[dict]):
        self.path = folder / TABLE
        self.notes: dict[str, str] = {}
        """What the user should know of it."""
        self._written: tuple[int, int] | None = None
        """The file's size and time since it was last as it should be."""
        self._settings: list[str] = []
        self._others: list[str] = []
        self._rows: dict[str, Row] = {}
        before = self._read()
        self._rows = {file: row for file, row in self._rows.items() if isfile(folder / file)}
        self._merge(rows)
        if self._whole() != before and (before or self._rows):
            self._save(self._whole(), replace)
        else:
            self._written = self._state()

    def add(self, rows: Iterable[dict]) -> None:
        """Puts rows in: what they say in place of what those of the same files say, else at the end.

        Raises BatchError where it cannot be written; if another program keeps it for itself, the next call writes it.
        """
        elsewhere = self._written is None or self._written != self._state()
        if elsewhere:
            self._read()
        rows = list(rows)
        columns, known = self._columns, {file for row in rows if (file := cell(row[FILE])) in self._rows}
        changed = self._merge(rows)
        if elsewhere or columns != self._columns or known & set(changed):
            self._save(self._whole(), replace)
        elif changed:
            self._save(_lines(self._columns, [self._rows[file] for file in changed]).encode(), append)

    @property
    def _columns(self) -> list[str]:
        return [*BEFORE, *self._settings, *AFTER, *self._others]

    def _merge(self, rows: Iterable[dict]) -> list[str]:
        """Puts rows in; gives the files of those that are not what they were."""
        changed = []
        for row in rows:
            known = {name: cell(value) for name, value in row.items()}
            file = known[FILE]
            self._settings += [name for name in known if name not in self._columns]
            merged = self._rows.get(file, {}) | known
            if merged != self._rows.get(file):
                self._rows[file] = merged
                changed.append(file)
        return changed

    def _whole(self) -> bytes:
        header = {name: name for name in self._columns}
        return (MARK + _lines(self._columns, [header, *self._rows.values()])).encode()

    def _save(self, content: bytes, write: Callable[[Path, bytes], None]) -> None:
        self._written = None
        with writing(self.path):
            try:
                write(self.path, content)
            except PermissionError:  # Excel, on Windows
                self.notes["closed"] = (
                    f"{self.path}: expected to write there, and another program keeps it for itself, or it may not be "
                    "written. Close it there and run the same command again: the rows that are missing come then."
                )
                return
        self.notes.pop("closed", None)
        self._written = self._state()

    def _state(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime_ns

    def _read(self) -> bytes:
        """Takes over what is on the disk, but for cells that are known better; gives its bytes.

        A file that is no such table is set aside.
        """
        if self._state() is None:
            return b""
        with writing(self.path):
            content = self.path.read_bytes()
        if not content:
            return content
        cells = _parsed(content)
        if cells is None:
            aside = next(
                name
                for number in itertools.count(1)
                if not (name := self.path.with_name(f"{self.path.stem}-old-{number}.csv")).exists()
            )
            with writing(aside):
                self.path.replace(aside)
            self.notes["aside"] = f"{self.path.name} was no table of pictures; it is {aside.name} now."
            return b""
        names, lines = cells
        end = min((at for at, name in enumerate(names) if name in AFTER), default=len(names))
        between, behind = names[:end], names[end:]
        mine = {*BEFORE, *self._settings, *AFTER}
        self._settings = list(dict.fromkeys([*(n for n in between if n not in (*BEFORE, *AFTER)), *self._settings]))
        self._others = [name for name in behind if name not in mine | set(self._settings)]
        rows = {}
        for line in lines:
            row = dict(zip(names, line, strict=True))
            known = {name: text for name, text in self._rows.get(row[FILE], {}).items() if name in mine}
            rows.setdefault(row[FILE], row | known)
        self._rows = rows | {file: row for file, row in self._rows.items() if file not in rows}
        return content


def column(label: str) -> str:
    """A setting's column. Inputs of nodes may be called as the table's own; the seed's is the table's own."""
    return f"{label} (setting)" if label in (*BEFORE, *AFTER[1:]) else cell(label)


def cell(value: object) -> str:
    """The text of a value: numbers as they are, texts so that no spreadsheet runs them, and within what one holds."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    text = _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", f"'{value}" if _FORMULA.match(value) else value)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def _lines(columns: list[str], rows: Iterable[Row]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([row.get(name, "") for name in columns] for row in rows)
    return text.getvalue()


def _parsed(content: bytes) -> tuple[list[str], list[list[str]]] | None:
    """The (columns, rows) of a table, also as Excel saves it in other countries; None where it is no such table."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    for delimiter in ",;\t":
        try:
            header, *lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        except (csv.Error, ValueError):
            continue
        if FILE in header:
            break
    else:
        return None
    width = max(map(len, [header, *lines]))
    lines = [line + [""] * (width - len(line)) for line in lines]
    header += [""] * (width - len(header))
    # A column without a name of its own gets one, if there is anything in it.
    names = [n if n and n not in header[:at] else f"column {at + 1}" for at, n in enumerate(header)]
    used = [at for at, n in enumerate(header) if n == names[at] or any(line[at] for line in lines)]
    return [names[at] for at in used], [[line[at] for at in used] for line in lines]
