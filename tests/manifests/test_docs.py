"""The tables that `make docs` prints from the manifest are in their files, and say all of it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("docs", ROOT / "host-shim" / "docs.py")
docs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(docs)


@pytest.mark.parametrize("file", dict.fromkeys(file for file, *_ in docs.TABLES), ids=str)
def test_the_file_has_the_table_of_the_manifest(file):
    assert docs.files()[file] == (ROOT / file).read_text(encoding="utf-8"), "print it again: make docs"


@pytest.mark.parametrize("entry", docs.node()["inputs"] + docs.node()["sockets"], ids=lambda entry: entry["id"])
def test_an_option_is_explained(entry):
    """At length, in both languages where it is shown, and every choice by name."""
    languages = ["doc"] if "source" in entry else ["doc", "doc_zh"]
    names = {entry["display_name"] for entry in docs.node()["inputs"] + docs.node()["sockets"]}
    for language in languages:
        text = entry[language]
        assert all(f"`{choice}`" in text for choice in entry.get("choices", []))
        assert set(re.findall(r"\*([^*]+)\*", text)) <= names


def test_the_docstring_has_every_option_in_the_manifest_s_order():
    shown = re.findall(r"^    ``(\w+)``", docs.docstring(), flags=re.M)
    assert shown == [entry["id"] for entry in docs.node()["inputs"]]
    assert all(len(line) <= 120 for line in docs.docstring().splitlines())


def test_a_file_without_its_markers_is_named():
    with pytest.raises(ValueError, match="README.md: expected the lines"):
        docs.written(Path("README.md"), "inputs", "a table", "no markers")
