"""A pack's source is laid out as it is shipped: what the assembled folder adds is built, or a copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import assembled

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {"comfyui": assembled.FOLDER, "invokeai": ROOT / "dist" / "invokeai-lgs"}

pytestmark = pytest.mark.parametrize("host", SHIPPED)


def files(folder: Path) -> dict[str, Path]:
    """Every file by its place, what is linked into the folder too."""
    found = {}
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found |= {(Path(here) / name).relative_to(folder).as_posix(): Path(here) / name for name in names}
    return found


def source(host: str) -> Path:
    return ROOT / "host-shim" / host


def test_every_file_of_the_source_is_shipped_where_it_is(host: str):
    written, shipped = files(source(host)), files(SHIPPED[host])
    # Of the engines that can be built; bin/ has the manifest of those that are there.
    assert set(written) - set(shipped) == {"manifests/engines.json"}
    for name in set(written) & set(shipped):
        assert written[name].read_bytes() == shipped[name].read_bytes(), f"{name}: run make build"


def test_what_is_added_is_built_or_a_copy(host: str):
    added = set(files(SHIPPED[host])) - set(files(source(host)))
    pages = {f"web/docs/{page.parent.name}.md" for page in source(host).glob("web/docs/*/en.md")}
    assert {name for name in added if not name.startswith("bin/")} == {"LICENSE-MIT", "LICENSE-APACHE", *pages}
    assert not (source(host) / "bin").exists()


def test_what_is_linked_is_there(host: str):
    for name, target in {"lgs": "host-shim/lgs", "manifests": "manifests"}.items():
        assert (source(host) / name).is_symlink() and (source(host) / name).resolve() == ROOT / target


def test_every_bundled_model_has_a_card(host: str):
    """Data, size, licence, how it was trained: its size is checked."""
    models = sorted((SHIPPED[host] / "models").glob("*.safetensors"))
    bundled = {"comfyui": {"digits", "digits-diagonal", "digits-start"}, "invokeai": set()}
    assert {model.stem for model in models} == bundled[host]
    for model in models:
        card = model.with_suffix(".md").read_text(encoding="utf-8")
        for row in ("| Data |", "| Size |", "| Licence |", "| Training |", "| Limits |"):
            assert row in card, (model.name, row)
        assert f"{model.stat().st_size / 1e6:.1f} MB" in card
