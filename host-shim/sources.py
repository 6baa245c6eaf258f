"""Of which sources something was built: what `make engines` and `make windows` leave lies beside later builds."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "sources.sha256"
ENGINE = ("Cargo.toml", "Cargo.lock", "plugin/abi", "plugin/engine", "manifests/engines.json", "host-shim/engines.py")
ALL = ("Cargo.toml", "Cargo.lock", "plugin", "manifests", "host-shim/cross.py")


def digest(of: tuple[str, ...]) -> str:
    """The SHA-256 of what libraries are built of, and how: names and contents."""
    found = hashlib.sha256()
    for file in (file for name in of for file in _files(ROOT / name)):
        found.update(f"{file.relative_to(ROOT).as_posix()}\n".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(file for file in place.rglob("*") if file.suffix in (".rs", ".toml", ".json"))


@contextlib.contextmanager
def stamped(folder: Path, of: tuple[str, ...]) -> Iterator[None]:
    """Afterwards it can be asked of which sources what lies in ``folder`` was built: of those at the beginning."""
    now = digest(of)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).unlink(missing_ok=True)
    yield
    (folder / STAMP).write_text(now + "\n")


def are_of(folder: Path, of: tuple[str, ...]) -> bool:
    """Whether what lies in ``folder`` was built of the sources as they are now."""
    file = folder / STAMP
    return file.exists() and file.read_text().strip() == digest(of)
