"""Graphs that were saved by earlier versions still run, and still mean the same.

``saved_graphs/`` holds the example as it was shipped once, and stays as it is: ``api.json`` from the first commit that
had one, ``editor.json`` from the commit since which new inputs come last. The editor saves the values of a node's
widgets by position, so an editor's graph of before that, when nothing had been released, does not mean the same now.
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
def saved(request: pytest.FixtureRequest, comfy: Client) -> dict:
    """What the front end posts for a saved graph."""
    content = json.loads((SAVED / f"{request.param}.json").read_text(encoding="utf-8"))
    return content if request.param == "api" else to_api(comfy.get_json("/object_info"), content)


def test_it_runs(comfy: Client, saved: dict):
    run = comfy.run(saved)
    assert run.outcome == "execution_success", run.details
    assert_read(run.images, "0123456789")


def test_inputs_that_came_later_have_the_values_of_then(comfy: Client, saved: dict):
    """The same picture as with every new input at the library's default, written out: not at what the node starts
    with, which may change."""
    info = comfy.get_json("/object_info/LGSSampler")["LGSSampler"]
    options, widgets = lgs.Options().as_dict(), [name for name, entry in inputs_of(info).items() if is_widget(*entry)]
    inputs = saved[SAMPLER]["inputs"]
    assert set(inputs) < set(widgets), "an input was renamed or taken away"
    complete = with_node(saved, SAMPLER, "LGSSampler", **{**{name: options[name] for name in widgets}, **inputs})
    assert torch.equal(comfy.run(saved).images, comfy.run(complete).images)


def test_the_editors_values_are_still_those_of_their_inputs(comfy: Client):
    workflow = json.loads((SAVED / "editor.json").read_text(encoding="utf-8"))
    node = next(node for node in workflow["nodes"] if node["type"] == "LGSSampler")
    names = [entry["name"] for entry in node["inputs"] if "widget" in entry]
    posted = to_api(comfy.get_json("/object_info"), workflow)[str(node["id"])]["inputs"]
    assert posted == dict(zip(names, node["widgets_values"], strict=True))
