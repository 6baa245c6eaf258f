"""Reads ``lgs.h``: the structs with their fields, the functions' parameters, the constants."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from pycparser import c_ast, c_parser

from .toolchain import INCLUDE

HEADER = INCLUDE / "lgs.h"

STANDARD = (
    "typedef int int32_t; typedef unsigned uint32_t; typedef unsigned long uint64_t; typedef unsigned long size_t;"
)
"""What the header takes from the standard library: its headers are full of what a compiler alone reads."""


@dataclass
class Field:
    """A field of a struct; for a function, its result and its parameters."""

    name: str
    type: str
    parameters: tuple[str, ...] | None = None


@functools.cache
def _syntax() -> c_ast.FileAST:
    included = re.sub(r"^#include <std\w+\.h>$", "", HEADER.read_text(), flags=re.MULTILINE)
    return c_parser.CParser().parse(_preprocessed(STANDARD + included, "-P"), HEADER.name)


def _preprocessed(text: str, *options: str) -> str:
    command = [*os.environ.get("CC", "cc").split(), "-E", *options, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def _type(node: c_ast.Node) -> str:
    """A type in one spelling: no const, no spaces."""
    if isinstance(node, c_ast.PtrDecl):
        return f"{_type(node.type)}*"
    if isinstance(node, c_ast.TypeDecl):
        return _type(node.type)
    return node.name if isinstance(node, c_ast.Struct) else " ".join(node.names)


def _field(declaration: c_ast.Decl) -> Field:
    function = declaration.type.type if isinstance(declaration.type, c_ast.PtrDecl) else None
    if not isinstance(function, c_ast.FuncDecl):
        return Field(declaration.name, _type(declaration.type))
    parameters = tuple(_type(parameter.type) for parameter in function.args.params)
    return Field(declaration.name, _type(function.type), () if parameters == ("void",) else parameters)


def _structs() -> Iterator[c_ast.Struct]:
    for declared in _syntax().ext:
        inner = getattr(getattr(declared, "type", None), "type", None)
        if isinstance(inner, c_ast.Struct) and inner.decls:
            yield inner


def structs() -> dict[str, list[Field]]:
    """Every struct that has fields, by its tag."""
    return {struct.name: [_field(declaration) for declaration in struct.decls] for struct in _structs()}


def constants() -> dict[str, int]:
    """Every enumerator, and the version."""
    enumerators = {}
    for declared in _syntax().ext:
        if isinstance(getattr(declared, "type", None), c_ast.Enum):
            enumerators |= {e.name: int(e.value.value) for e in declared.type.values.enumerators}
    macros = re.findall(r"#define (LGS_\w+) (\d+)u", _preprocessed(HEADER.read_text(), "-dM"))
    return enumerators | {name: int(value) for name, value in macros}


def sizes_in_comments() -> dict[str, int]:
    """The sizes of structs that comments show as examples, as the library's layout gives them."""
    return {name: int(size) for name, size in re.findall(r'"(lgs_\w+)": \{"size": (\d+)', HEADER.read_text())}
