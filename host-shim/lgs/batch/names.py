"""Names of pictures, for people: the settings that differ and the seed, legal in every file system.

    covariance=lanczos_seed=0007.png

Numbers are padded, so that files sort as the plan's numbers ascend (negative ones aside), and what would read alike is
numbered. A name tells a person what a picture is; which job it is of, the store's records say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

LONGEST_NAME = 120
"""Bytes, before what the store adds: file systems end at 255 a file, Windows at 260 a path."""
LONGEST_WORDS = (48, 32, 24, 16, 12, 8)
"""Bytes of one value: the first of these that keeps the whole within `LONGEST_NAME`."""
SEED_DIGITS = 4
"""At least, so that a few more seeds do not widen the names."""
LONGEST_NUMBER = 20
"""Characters up to which numbers are padded: those of the seeds of 64 bits."""
NOTHING = "empty"
"""Stands for a text without letters and digits."""
ALONE = "picture"
"""The name where nothing differs and no seed is known."""

# What Windows has for its devices, with any suffix: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³])(?:\.|$)", re.IGNORECASE)


class Names:
    """The names of a plan's pictures.

    ``axes`` are the title and the values of each axis that differs, ``seed_title`` is the title of the one that is the
    seed, or, where none is, what the seed comes to be called at the end of each name.
    """

    def __init__(self, axes: Sequence[tuple[str, Sequence]], seed_title: str):
        self.seed_title = seed_title
        self.titles = [cleaned(title) for title, _ in axes]
        digits = [SEED_DIGITS if title == seed_title else 1 for title, _ in axes]
        for longest in LONGEST_WORDS:
            self.words = [words(values, least, longest) for (_, values), least in zip(axes, digits, strict=True)]
            length = [len(f"{t}={max(w, key=_bytes)}_".encode()) for t, w in zip(self.titles, self.words, strict=True)]
            if sum(length) + len(seed_title) + LONGEST_NUMBER <= LONGEST_NAME:
                return

    def of(self, positions: Sequence[int], seed: int | None) -> str:
        """The name for the values at these positions of the axes, with a ``seed`` that none of them is."""
        chosen = zip(self.titles, self.words, positions, strict=True)
        parts = [f"{title}={words[position]}" for title, words, position in chosen]
        if seed is not None:
            parts.append(f"{self.seed_title}={seed:0{SEED_DIGITS}d}")
        name = "_".join(parts) or ALONE
        if len(name.encode()) > LONGEST_NAME:  # many axes, or long titles: the seed is what must not be cut
            seeds = [part for part in parts if part.startswith(f"{self.seed_title}=")]
            others = "_".join(part for part in parts if part not in seeds)
            name = "_".join([_cut(others, LONGEST_NAME - len("_".join(["", *seeds]))), *seeds])
        return f"_{name}" if _DEVICE.match(name) else name


def words(values: Sequence, least_digits: int = 1, longest: int = LONGEST_WORDS[0]) -> list[str]:
    """What stands for each value in a name, no two alike: numbers in one width, texts shortened to so many bytes."""
    made = _numbers(values, least_digits) or [_cut(cleaned(_text(value)), longest) or NOTHING for value in values]
    if len({folded(word) for word in made}) == len(made):
        return made
    width = len(str(len(made)))
    return [_cut(f"{number:0{width}d}-{word}", longest).rstrip("-") for number, word in enumerate(made, start=1)]


def cleaned(text: str) -> str:
    """The letters, marks and digits of any script, and of the rest ``_``, ``+``, ``-`` and dots within."""
    text = unicodedata.normalize("NFC", text)
    kept = "".join(c if c in "_.+-" or unicodedata.category(c)[0] in "LMN" else "-" for c in text)
    return re.sub(r"-{2,}", "-", kept).strip("-.")


def folded(name: str) -> str:
    """The same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).upper().casefold())


def _numbers(values: Sequence, least_digits: int) -> list[str] | None:
    """Numbers with the same digits before and behind the point; None unless all are numbers that can be so written."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    texts = [format(Decimal(repr(value)), "f") for value in values if abs(value) < 10**LONGEST_NUMBER]
    behind = max((len(text.partition(".")[2]) for text in texts), default=0)
    before = max((len(text.partition(".")[0].lstrip("-")) for text in texts), default=0)
    before = max(before, least_digits)
    if len(texts) < len(values) or before + behind > LONGEST_NUMBER:
        return None
    width = before + (behind + 1 if behind else 0)
    return [f"{Decimal(text):0{width + text.startswith('-')}.{behind}f}" for text in texts]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "none" if value is None else str(value)


def _bytes(word: str) -> int:
    return len(word.encode())


def _cut(text: str, longest: int) -> str:
    """The text within so many bytes of UTF-8, no character in part."""
    encoded = text.encode()
    return text if len(encoded) <= longest else encoded[:longest].decode(errors="ignore").rstrip("-._")
