"""The pack's source is laid out as it is shipped: what the assembled folder adds is built, or a copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import assembled

SOURCE = Path(__file__).resolve().parents[2] / "host-shim" / "comfyui"


def files(folder: Path) -> dict[str, Path]:
    """Every file by its place, what is linked into the folder too."""
    found = {}
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found |= {(Path(here) / name).relative_to(folder).as_posix(): Path(here) / name for name in names}
    return found


@pytest.fixture(scope="module")
def source() -> dict[str, Path]:
    return files(SOURCE)


@pytest.fixture(scope="module")
def shipped() -> dict[str, Path]:
    return files(assembled.FOLDER)


def test_every_file_of_the_source_is_shipped_where_it_is(source: dict[str, Path], shipped: dict[str, Path]):
    # Of the engines that can be built; bin/ has the manifest of those that are there.
    assert set(source) - set(shipped) == {"manifests/engines.json"}
    for name in set(source) & set(shipped):
        assert source[name].read_bytes() == shipped[name].read_bytes(), f"{name}: run make build"


def test_what_is_added_is_built_or_a_copy(source: dict[str, Path], shipped: dict[str, Path]):
    added = set(shipped) - set(source)
    pages = {f"web/docs/{page.parent.name}.md" for page in SOURCE.glob("web/docs/*/en.md")}
    assert {name for name in added if not name.startswith("bin/")} == {"LICENSE-MIT", "LICENSE-APACHE", *pages}
    assert not (SOURCE / "bin").exists()


def test_what_is_linked_is_there():
    for name, target in {"lgs": "host-shim/lgs", "manifests": "manifests"}.items():
        assert (SOURCE / name).is_symlink() and (SOURCE / name).resolve() == SOURCE.parents[1] / target


def test_every_bundled_model_has_a_card():
    """Data, size, licence, how it was trained: its size is checked."""
    models = sorted((assembled.FOLDER / "models").glob("*.safetensors"))
    assert {model.stem for model in models} == {"digits", "digits-diagonal", "digits-start"}
    for model in models:
        card = model.with_suffix(".md").read_text(encoding="utf-8")
        for row in ("| Data |", "| Size |", "| Licence |", "| Training |", "| Limits |"):
            assert row in card, (model.name, row)
        assert f"{model.stat().st_size / 1e6:.1f} MB" in card
