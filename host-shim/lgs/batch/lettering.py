"""Text in pictures: a font that has the letters, and lines within a width.

Pillow's own font has ASCII and little more, so that other scripts need one of the system's, where it has one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from PIL import ImageFont

from .untrusted import printable

SYSTEM_FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc"),  # Linux
    *("segoeui.ttf", "arial.ttf", "msyh.ttc", "YuGothM.ttc", "malgun.ttf"),  # Windows
    *("Arial Unicode.ttf", "PingFang.ttc", "AppleSDGothicNeo.ttc"),  # macOS
)
"""Pillow knows where systems keep them."""
LONGEST_SHOWN = 300
"""Characters of one text."""
ABSENT = "\uffff"
"""A character that no font has."""

Font = ImageFont.FreeTypeFont


def one_line(text: str) -> str:
    """A text with no line breaks, nothing that turns its direction, and no more than can be shown."""
    return printable(" ".join(text[: LONGEST_SHOWN + 1].split()))


def fonts(texts: Iterable[str], sizes: Iterable[int]) -> list[Font]:
    """One font in several sizes: the first that has the most of what the texts need."""
    needed = sorted({c for text in texts for c in text if not c.isascii()})
    names = [None, *SYSTEM_FONTS] if needed else [None]
    lacking = {name: _lacking(found, needed) for name in names if (found := _font(name, 12)) is not None}
    best = min(lacking, key=lacking.get)
    return [_font(best, size) for size in sizes]


def wrapped(text: str, font: Font, width: float, most_lines: int) -> list[str]:
    """The text in lines of at most ``width`` pixels; what is beyond the last line is left out, and said so: "…"."""
    words, lines = one_line(text).split(" "), []
    while words and len(lines) < most_lines:
        line = words.pop(0)
        if font.getlength(line) > width:  # a word that is broken
            kept = _beginning(line, font, width)
            words.insert(0, line[len(kept) :])
            line = kept
        else:
            while words and font.getlength(f"{line} {words[0]}") <= width:
                line = f"{line} {words.pop(0)}"
        lines.append(line)
    if words or len(text) > LONGEST_SHOWN:
        lines[-1] = _beginning(lines[-1], font, width - font.getlength("…")).rstrip() + "…"
    return lines


def _beginning(text: str, font: Font, width: float) -> str:
    """As much of a text as fits; one character at least."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-1]
    return text


@functools.cache
def _font(name: str | None, size: int) -> Font | None:
    """A font of the system; Pillow's own without a name; None where there is none."""
    if name is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _lacking(font: Font, characters: Iterable[str]) -> int:
    """How many of the characters it draws as it draws what it has not."""
    absent = bytes(font.getmask(ABSENT))
    return sum(bytes(font.getmask(character)) == absent for character in characters)
