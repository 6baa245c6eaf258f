"""Writes what ``lgs.h`` declares for Python, ``lgs/_ffi/header.py``, and for Rust, ``plugin/abi/src/header.rs``.

    python host-shim/bindings.py            (`make docs`)

So each struct is declared once; the header is read by pycparser. A test runs this again and compares; another compares
the layout with the C compiler's and the library's own.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pycparser import c_ast, c_parser

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "plugin" / "include" / "lgs.h"
PYTHON = Path("host-shim") / "lgs" / "_ffi" / "header.py"
RUST = Path("plugin") / "abi" / "src" / "header.rs"

STANDARD = """
typedef int int32_t;
typedef unsigned uint32_t;
typedef unsigned long uint64_t;
typedef unsigned long size_t;
"""
"""What the header takes from the standard library, whose own headers are full of what a compiler alone reads."""

SCALARS = {
    "double": "c_double",
    "int32_t": "c_int32",
    "uint32_t": "c_uint32",
    "uint64_t": "c_uint64",
    "size_t": "c_size_t",
    "lgs_status_t": "c_int32",
    "lgs_signal_t": "c_int32",
    "lgs_tensor_t": "c_void_p",
    "void*": "c_void_p",
    "const char*": "c_char_p",
    # To be given back: ctypes would keep the text of a c_char_p alone.
    "char*": "c_void_p",
    "void": "None",
}

TEMPLATE = '''"""The structs and constants of ``lgs.h``, written from it by host-shim/bindings.py (`make docs`)."""

# fmt: off

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    addressof,
    c_char_p,
    c_double,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    memmove,
    sizeof,
)

{constants}

JVP_NAMES = ({jvp_names})
"""By their numbers, `LGS_JVP_...`."""


class Struct(Structure):
    """A struct of the header, which begins with its own size."""

    @classmethod
    def sized(cls, *fields):
        """One with these fields after the size; what is not given is zero."""
        return cls(sizeof(cls), *fields)

    @classmethod
    def known(cls, pointer):
        """A copy of one that somebody else has filled, who may know fewer fields: those that are missing are zero."""
        own = cls()
        size = c_size_t.from_address(addressof(pointer.contents)).value
        memmove(addressof(own), pointer, min(size, sizeof(cls)))
        return own

    @classmethod
    def type_of(cls, name: str):
        """The type of a field."""
        return dict(cls._fields_)[name]
{structs}'''


@dataclass
class Field:
    """A field of a struct; for a function, its result and its parameters."""

    name: str
    type: str
    parameters: tuple[str, ...] | None = None


@functools.cache
def _syntax() -> c_ast.FileAST:
    included = re.sub(r"^#include <std\w+\.h>$", "", HEADER.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return c_parser.CParser().parse(_preprocessed(STANDARD + included, "-P"), HEADER.name)


def _preprocessed(text: str, *options: str) -> str:
    command = [*os.environ.get("CC", "cc").split(), "-E", *options, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def _type(node: c_ast.Node) -> str:
    """A type in one spelling: const of what is pointed to first, no other spaces."""
    if isinstance(node, c_ast.PtrDecl):
        return f"{_type(node.type)}*"
    if isinstance(node.type, c_ast.Struct):
        return node.type.name
    return " ".join([*(node.quals or []), *node.type.names])


def _field(declaration: c_ast.Decl) -> Field:
    function = declaration.type.type if isinstance(declaration.type, c_ast.PtrDecl) else None
    if not isinstance(function, c_ast.FuncDecl):
        return Field(declaration.name, _type(declaration.type))
    parameters = tuple(_type(parameter.type) for parameter in function.args.params)
    return Field(declaration.name, _type(function.type), () if parameters == ("void",) else parameters)


def structs() -> dict[str, list[Field]]:
    """Every struct that has fields, by its tag, in the header's order."""
    return {struct.name: [_field(declaration) for declaration in struct.decls] for struct in _structs()}


def _structs() -> Iterator[c_ast.Struct]:
    for declared in _syntax().ext:
        inner = getattr(getattr(declared, "type", None), "type", None)
        if isinstance(inner, c_ast.Struct) and inner.decls:
            yield inner


def constants() -> dict[str, int]:
    """Every enumerator, and the version."""
    macros = re.findall(r"#define (LGS_\w+) (\d+)u", _preprocessed(HEADER.read_text(encoding="utf-8"), "-dM"))
    found = {name: int(value) for name, value in macros}
    for declared in _syntax().ext:
        if isinstance(getattr(declared, "type", None), c_ast.Enum):
            found |= {entry.name: int(entry.value.value) for entry in declared.type.values.enumerators}
    return found


def class_name(tag: str) -> str:
    """``lgs_engine_config`` as Python has it: EngineConfig."""
    return "".join(word.capitalize() for word in tag.removeprefix("lgs_").split("_"))


def _python(type_: str) -> str:
    if type_ in SCALARS:
        return SCALARS[type_]
    pointed = re.fullmatch(r"(?:const )?(.*)\*", type_)
    if pointed is None:
        raise ValueError(f"{HEADER}: expected a type that host-shim/bindings.py knows, got {type_}; add it to SCALARS")
    tag = pointed[1].removesuffix("_t")
    if tag in structs():
        return f"POINTER({class_name(tag)})"
    # A struct without fields is the library's own.
    return (
        "c_void_p" if re.fullmatch(r"lgs_\w+", tag) and pointed[1] not in SCALARS else f"POINTER({_python(pointed[1])})"
    )


def _struct(tag: str, fields: list[Field]) -> str:
    lines = [f"\n\nclass {class_name(tag)}(Struct):", "    _fields_ = ["]
    for field in fields:
        of = _python(field.type)
        if field.parameters is not None:
            of = f"CFUNCTYPE({', '.join([of, *map(_python, field.parameters)])})"
        line = f'        ("{field.name}", {of}),'
        if len(line) > 120:
            arguments = "\n".join(textwrap.wrap(of.removeprefix("CFUNCTYPE(")[:-1], 104))
            line = f'        ("{field.name}", CFUNCTYPE(\n{textwrap.indent(arguments, 12 * " ")}\n        )),'
        lines.append(line)
    return "\n".join([*lines, "    ]\n"])


def python() -> str:
    """The Python module, as it is to be."""
    numbers = constants()
    jvps = sorted((value, name) for name, value in numbers.items() if name.startswith("LGS_JVP_"))
    names = ", ".join(f'"{name.removeprefix("LGS_JVP_").lower().replace("_", "-")}"' for _, name in jvps)
    shown = [f"{name.removeprefix('LGS_')} = {value}" for name, value in numbers.items() if "LGS_JVP_" not in name]
    return TEMPLATE.format(
        constants="\n".join(shown),
        jvp_names=names,
        structs="".join(_struct(tag, fields) for tag, fields in structs().items()),
    )


RUST_SCALARS = {
    "double": "f64",
    "int32_t": "i32",
    "uint32_t": "u32",
    "uint64_t": "u64",
    "size_t": "usize",
    "lgs_status_t": "i32",
    "lgs_signal_t": "i32",
    "lgs_tensor_t": "*mut c_void",
    "void": "c_void",
}

LIBLGS_ALONE = ("lgs_engine_config", "lgs_api")
"""Structs that engines have no part in: ``plugin/src/wrapper/types.rs`` has them, with types of its own in them."""

RUST_TEMPLATE = """//! The structs of `lgs.h` that liblgs and engines share, and what callbacks answer: written from it
//! by host-shim/bindings.py (`make docs`). The header says what each field means.

use std::{{ffi::c_void, mem::offset_of}};

use abi_stable::StableAbi;

use crate::layout::StructLayout;

/// `lgs_signal_t`: what a callback answers.
pub mod signal {{
{signals}
}}
{structs}
/// How the structs of this file are laid out.
pub fn layouts() -> Vec<StructLayout> {{
    vec![{layouts}]
}}
"""


def _rust(type_: str) -> str:
    if type_ in RUST_SCALARS:
        return RUST_SCALARS[type_]
    constant, inner = type_.startswith("const "), type_.removeprefix("const ").removesuffix("*")
    tag = inner.removesuffix("_t")
    return f"*{'const' if constant else 'mut'} {class_name(tag) if tag in structs() else _rust(inner)}"


def _rust_struct(tag: str, fields: list[Field]) -> str:
    numbers = all(field.parameters is None and "*" not in _rust(field.type) for field in fields)
    derived = "StableAbi, Clone, Copy" + numbers * ", Default"
    lines = [f"\n/// `{tag}_t`.", "#[repr(C)]", f"#[derive({derived})]", f"pub struct {class_name(tag)} {{"]
    for field in fields:
        of = _rust(field.type)
        if field.parameters is not None:
            of = f'Option<unsafe extern "C" fn({", ".join(map(_rust, field.parameters))}) -> {of}>'
        lines.append(f"pub {field.name}: {of},")
    return "\n".join([*lines, "}\n"])


def rust() -> str:
    """The Rust module, as it is to be."""
    shared = {tag: fields for tag, fields in structs().items() if tag not in LIBLGS_ALONE}
    signals = {name.removeprefix("LGS_"): value for name, value in constants().items()}
    layouts = []
    for tag, fields in shared.items():
        name = class_name(tag)
        offsets = ", ".join(f'("{field.name}", offset_of!({name}, {field.name}))' for field in fields)
        layouts.append(f'StructLayout {{ name: "{tag}", size: size_of::<{name}>(), fields: vec![{offsets}] }}')
    text = RUST_TEMPLATE.format(
        signals="\n".join(f"pub const {name}: i32 = {signals[name]};" for name in ("FAIL", "CONTINUE", "STOP")),
        structs="".join(_rust_struct(tag, fields) for tag, fields in shared.items()),
        layouts=", ".join(layouts),
    )
    command = ["rustfmt", "--edition", "2021", "--config-path", str(ROOT)]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


WRITTEN = {PYTHON: python, RUST: rust}
"""What is written, by its file."""

if __name__ == "__main__":
    for file, content in WRITTEN.items():
        # What is as it should be is not touched: cargo would build it again.
        if (ROOT / file).read_text(encoding="utf-8") != content():
            (ROOT / file).write_text(content(), encoding="utf-8")
            print(f"wrote {file}")
