"""What the registry and the help pages say agrees with the manifest and the build."""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from pathlib import Path

import pytest

from lgs import _ffi

ROOT = Path(__file__).resolve().parents[2]
PACK = _ffi.HOME
NODES = json.loads((PACK / "manifests" / "nodes.json").read_text(encoding="utf-8"))["nodes"]
PROJECT = tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))


def test_version_is_the_librarys():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]
    assert PROJECT["project"]["version"] == workspace["version"] == _ffi.library().version


def test_nothing_is_installed_into_the_host():
    assert PROJECT["project"]["dependencies"] == []
    assert not (PACK / "requirements.txt").exists() and not (PACK / "install.py").exists()


def test_the_registrys_rules():
    """docs.comfy.org/registry/specifications."""
    name, comfy = PROJECT["project"]["name"], PROJECT["tool"]["comfy"]
    assert re.fullmatch(r"[A-Za-z]([-_.]?[A-Za-z0-9])*", name) and len(name) < 100 and "comfyui" not in name.lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["project"]["version"])
    assert comfy["PublisherId"] and comfy["DisplayName"]
    assert comfy["requires-comfyui"] == ">=0.3.64"
    assert all((PACK / folder).is_dir() for folder in comfy["includes"])


@pytest.mark.parametrize("node", NODES, ids=lambda node: node["id"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_page_names_every_input_and_output(node: dict, language: str):
    page = (PACK / "web" / "docs" / node["id"] / f"{language}.md").read_text(encoding="utf-8")
    shown = [entry for entry in node["inputs"] if "source" not in entry] + node.get("sockets", [])
    for entry in shown:
        assert f"| {entry['display_name']} |" in page, entry["id"]
    for output in node["outputs"]:
        assert f"| {output['display_name']} |" in page or f"**{output['display_name']}**" in page


@pytest.mark.parametrize("node", NODES, ids=lambda node: node["id"])
def test_help_page_in_other_languages_is_the_english_one(node: dict):
    docs = PACK / "web" / "docs"
    assert (docs / f"{node['id']}.md").read_bytes() == (docs / node["id"] / "en.md").read_bytes()


@pytest.mark.parametrize("node", NODES, ids=lambda node: node["id"])
def test_common_inputs_come_first(node: dict):
    advanced = [entry.get("advanced", False) for entry in node["inputs"] if "source" not in entry]
    assert advanced == sorted(advanced)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node["id"])
def test_every_node_can_be_searched_for_and_says_what_its_inputs_do(node: dict):
    assert node["search_aliases"]
    assert all(entry["tooltip"] for entry in node["inputs"])


@pytest.mark.parametrize("file", sorted((PACK / "example_workflows").glob("*.json")), ids=lambda file: file.stem)
def test_no_node_of_a_shipped_graph_lies_on_another(file: Path):
    """A node that has more inputs than its saved height holds grows, over what is below it."""
    boxes = []
    for node in json.loads(file.read_text(encoding="utf-8"))["nodes"]:
        widgets = sum("widget" in entry for entry in node.get("inputs", []))
        assert node["size"][1] >= 24 * widgets, f"{node['type']}: {widgets} widgets"
        (left, top), (width, height) = node["pos"], node["size"]
        boxes.append((node["type"], left, top - 30, left + width, top + height))  # with its title
    for (one, *a), (other, *b) in itertools.combinations(boxes, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"{one} and {other}"
