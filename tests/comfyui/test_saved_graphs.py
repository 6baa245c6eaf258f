"""Graphs that were saved by earlier versions still run, and still mean the same.

``saved_graphs/`` holds the example as it was shipped once, and stays as it is: ``api.json`` from the first commit that
had one, ``editor.json`` from the commit since which the node starts with other values than the library's defaults. The
editor saves the values of a node's widgets by position and fills in what the node starts with, so an editor's graph of
before that, when nothing had been released, does not mean the same now.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lgs

from .client import Client
from .editor_format import inputs_of, is_widget, to_api
from .graphs import SAMPLER, assert_read, with_node

SAVED = Path(__file__).with_name("saved_graphs")


@pytest.fixture(params=["api", "editor"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def content(kind: str) -> dict:
    """A saved graph as it is in its file."""
    return json.loads((SAVED / f"{kind}.json").read_text(encoding="utf-8"))


@pytest.fixture
def saved(comfy: Client, kind: str, content: dict) -> dict:
    """What the front end posts for it."""
    return content if kind == "api" else to_api(comfy.get_json("/object_info"), content)


def known(kind: str, content: dict) -> set[str]:
    """The inputs that LGS Sampler had then."""
    if kind == "api":
        return set(content[SAMPLER]["inputs"])
    node = next(node for node in content["nodes"] if node["type"] == "LGSSampler")
    return {entry["name"] for entry in node["inputs"] if "widget" in entry}


def test_it_runs(comfy: Client, saved: dict):
    run = comfy.run(saved)
    assert run.outcome == "execution_success", run.details
    assert_read(run.images, "0123456789")


def test_inputs_that_came_later_have_the_values_of_then(comfy: Client, kind: str, content: dict, saved: dict):
    """The same picture as with every new input at the library's default, written out: not at what the node starts
    with, which may change."""
    info = comfy.get_json("/object_info/LGSSampler")["LGSSampler"]
    options, widgets = lgs.Options().as_dict(), [name for name, entry in inputs_of(info).items() if is_widget(*entry)]
    then = known(kind, content)
    assert then <= set(widgets), "an input was renamed or taken away"
    newer = {name: options[name] for name in widgets if name not in then}
    complete = with_node(saved, SAMPLER, "LGSSampler", **{**saved[SAMPLER]["inputs"], **newer})
    assert torch.equal(comfy.run(saved).images, comfy.run(complete).images)


def test_the_editors_values_are_still_those_of_their_inputs(comfy: Client):
    workflow = json.loads((SAVED / "editor.json").read_text(encoding="utf-8"))
    node = next(node for node in workflow["nodes"] if node["type"] == "LGSSampler")
    names = [entry["name"] for entry in node["inputs"] if "widget" in entry]
    posted = to_api(comfy.get_json("/object_info"), workflow)[str(node["id"])]["inputs"]
    assert {name: posted[name] for name in names} == dict(zip(names, node["widgets_values"], strict=True))
