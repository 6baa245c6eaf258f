"""What others wrote: decoded within limits, and made fit to print."""

from __future__ import annotations

import json
import re
from typing import Any

DEEPEST = 200
"""Levels of lists and objects within one another; ComfyUI's have about ten. What takes a graph apart goes down level
by level, and Python's stack has an end."""

_NOT_PRINTED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for the line feed, which a terminal obeys, and those that turn the direction of text."""


def decoded(text: bytes | str) -> Any:
    """What a JSON text says; as bytes in UTF-8, 16 or 32, with or without a byte order mark. Raises ValueError."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep() from None
    level, depth = [value], 0
    while level := [inner for outer in level for inner in _within(outer)]:
        depth += 1
        if depth > DEEPEST:
            raise _too_deep()
    return value


def printable(text: str) -> str:
    """The text with what a terminal would obey replaced."""
    return _NOT_PRINTED.sub("\N{REPLACEMENT CHARACTER}", text)


def _within(value: Any) -> list:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [one for one in inner if isinstance(one, dict | list)]


def _too_deep() -> ValueError:
    return ValueError(f"more than {DEEPEST} levels within one another")
