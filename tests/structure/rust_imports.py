"""Which modules of a Rust crate use which others, by the paths that stand in their text.

PYTHONPATH=tests python -m structure.rust_imports
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

VISIBILITY = re.compile(r"pub\((crate|super)\)")
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod tests \{.*", re.DOTALL)
PATH = re.compile(r"\b(crate|self|super)((?:::\w+)*)(::\{)?")


def uses(source: Path) -> dict[str, set[str]]:
    """By the name of each module of the crate at ``source``, the modules that its text names. A module's own children,
    which it declares, are among them only where it uses what they hold."""
    modules = {_name(file, source): file for file in sorted(source.rglob("*.rs"))}
    modules.pop("")  # lib.rs declares the others
    found = {}
    for name, file in modules.items():
        text = TESTS.sub("", VISIBILITY.sub("", COMMENT.sub("", file.read_text())))
        here = name.split("::")
        paths = set()
        for match in PATH.finditer(text):
            # Within a file `super` is the module that declares it, and `self` the file's own.
            start = {"crate": [], "self": here, "super": here[:-1]}[match[1]]
            head = start + [part for part in match[2].split("::") if part]
            tails = _group(text, match.end()) if match[3] else [[]]
            paths |= {"::".join(head + tail) for tail in tails}
        used = {_longest(path, modules) for path in paths}
        found[name] = {other for other in used if other and other != name}
    return found


def _name(file: Path, source: Path) -> str:
    parts = file.relative_to(source).with_suffix("").parts
    return "::".join(part for part in parts if part not in ("mod", "lib"))


def _group(text: str, at: int) -> list[list[str]]:
    """The paths of a group ``{a, b::{c, d}}``, of which ``at`` is just behind the brace."""
    paths, stack, current = [], [[]], []
    for token in re.findall(r"\w+|[{},]", text[at:]):
        if token == "{":
            stack.append(current)
            current = list(current)
        elif token in ",}":
            if len(current) > len(stack[-1]):
                paths.append(current)
            current = list(stack[-1])
            if token == "}":
                current = []  # the group's own path is no path of its own
                stack.pop()
                if not stack:
                    break
        else:
            current = [*current, token]
    return paths


def _longest(path: str, modules: dict[str, Path]) -> str:
    """The module that a path leads to: what is behind it is an item of it."""
    parts = path.split("::")
    while parts and "::".join(parts) not in modules:
        parts.pop()
    return "::".join(parts)


if __name__ == "__main__":
    for library in sorted(ROOT.glob("plugin/**/src/lib.rs")):
        print(library.parent.relative_to(ROOT))
        for module, used in uses(library.parent).items():
            print(f"  {module}: {', '.join(sorted(used)) or '-'}")
