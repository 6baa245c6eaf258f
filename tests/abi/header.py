"""Reads ``lgs.h``: the structs with their fields, the functions' parameters, the constants."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .toolchain import INCLUDE


@dataclass
class Field:
    """A field of a struct; for a function, its result and its parameters."""

    name: str
    type: str
    parameters: tuple[str, ...] | None = None


def _text() -> str:
    text = (INCLUDE / "lgs.h").read_text()
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def _plain(declaration: str) -> str:
    """A type in one spelling: no const, no double spaces, stars close to the name."""
    words = re.sub(r"\bconst\b", " ", declaration).replace("*", " * ").split()
    return " ".join(words).replace(" *", "*")


def _parameter(declaration: str) -> str:
    return _plain(re.sub(r"\w+\s*$", "", declaration))


def _field(declaration: str) -> Field:
    function = re.fullmatch(r"(.*)\(\*(\w+)\)\((.*)\)", declaration, re.DOTALL)
    if function:
        result, name, parameters = function.groups()
        listed = () if parameters.strip() == "void" else tuple(map(_parameter, parameters.split(",")))
        return Field(name, _plain(result), listed)
    type_, name = re.fullmatch(r"(.*?)(\w+)", declaration, re.DOTALL).groups()
    return Field(name, _plain(type_))


def structs() -> dict[str, list[Field]]:
    """Every struct that has fields, by its tag."""
    found = re.findall(r"typedef struct (\w+) \{(.*?)\} \1_t;", _text(), re.DOTALL)
    return {
        name: [_field(" ".join(declaration.split())) for declaration in body.split(";") if declaration.strip()]
        for name, body in found
    }


def constants() -> dict[str, int]:
    """Every enumerator, and the version."""
    text = _text()
    enumerators = re.findall(r"\b(LGS_\w+) = (\d+)", text)
    return {name: int(value) for name, value in enumerators + re.findall(r"#define (LGS_\w+) (\d+)u", text)}
