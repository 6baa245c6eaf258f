"""Graphs that were saved by earlier versions still run, and still mean the same.

``saved_graphs/`` holds the example as it was shipped once, and stays as it is: ``api.json`` from the first commit that
had one, ``editor.json`` from the commit since which the node's defaults are not the library's. The editor saves the
values of a node's widgets by position and fills in the node's defaults, so an editor's graph of before that, when
nothing had been released, does not mean the same now. ``api-old-names.json`` is from before ``lanczos_min_sigma`` and
``lanczos_max_sigma`` became ``covariance_min_sigma`` and ``covariance_max_sigma``, with other values than any default;
``editor.json`` has those names, too.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lgs
from example_workflows.editor_format import inputs_of, is_widget, to_api

from .client import Client, Rejected
from .graphs import SAMPLER, assert_read, with_inputs, with_node

SAVED = Path(__file__).with_name("saved_graphs")


@pytest.fixture(params=["api", "api-old-names", "editor"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def content(kind: str) -> dict:
    """A saved graph as it is in its file."""
    return json.loads((SAVED / f"{kind}.json").read_text(encoding="utf-8"))


@pytest.fixture
def saved(comfy: Client, kind: str, content: dict) -> dict:
    """What the front end posts for it."""
    return to_api(comfy.get_json("/object_info"), content) if kind == "editor" else content


@pytest.fixture
def renamed(pack: Path) -> dict[str, str]:
    """{old name of an input of LGS Sampler: the one that it has now}."""
    nodes = json.loads((pack / "manifests" / "nodes.json").read_text(encoding="utf-8"))["nodes"]
    inputs = next(node["inputs"] for node in nodes if node["id"] == "LGSSampler")
    return {alias: entry["id"] for entry in inputs for alias in entry.get("aliases", [])}


def known(kind: str, content: dict) -> set[str]:
    """The inputs that LGS Sampler had then, by the names of then."""
    if kind != "editor":
        return set(content[SAMPLER]["inputs"])
    node = next(node for node in content["nodes"] if node["type"] == "LGSSampler")
    return {entry["name"] for entry in node["inputs"] if "widget" in entry}


def with_new_names(graph: dict, renamed: dict[str, str]) -> dict:
    """A copy whose LGS Sampler has the names of now."""
    inputs = {renamed.get(name, name): value for name, value in graph[SAMPLER]["inputs"].items()}
    return with_node(graph, SAMPLER, "LGSSampler", **inputs)


def test_it_runs(comfy: Client, saved: dict):
    run = comfy.run(saved)
    assert run.outcome == "execution_success", run.details
    assert_read(run.images, "0123456789")


def test_inputs_that_came_later_have_the_values_of_then(
    comfy: Client, kind: str, content: dict, saved: dict, renamed: dict[str, str]
):
    """The same picture as with every new input at the library's default, written out: not at the node's default,
    which may change."""
    info = comfy.get_json("/object_info/LGSSampler")["LGSSampler"]
    options, widgets = lgs.Options().as_dict(), [name for name, entry in inputs_of(info).items() if is_widget(*entry)]
    then = {renamed.get(name, name) for name in known(kind, content)}
    assert then <= set(widgets), "an input was renamed without an alias, or taken away"
    newer = {name: options[name] for name in widgets if name not in then}
    now = with_new_names(saved, renamed)
    complete = with_node(now, SAMPLER, "LGSSampler", **{**now[SAMPLER]["inputs"], **newer})
    assert torch.equal(comfy.run(saved).images, comfy.run(complete).images)


def test_the_editors_values_are_still_those_of_their_inputs(comfy: Client, renamed: dict[str, str]):
    workflow = json.loads((SAVED / "editor.json").read_text(encoding="utf-8"))
    node = next(node for node in workflow["nodes"] if node["type"] == "LGSSampler")
    names = [renamed.get(entry["name"], entry["name"]) for entry in node["inputs"] if "widget" in entry]
    posted = to_api(comfy.get_json("/object_info"), workflow)[str(node["id"])]["inputs"]
    assert {name: posted[name] for name in names} == dict(zip(names, node["widgets_values"], strict=True))


@pytest.fixture
def old_names() -> dict:
    """The graph with the old names, as it is in its file."""
    return json.loads((SAVED / "api-old-names.json").read_text(encoding="utf-8"))


def test_old_names_give_the_picture_of_the_new_ones(comfy: Client, old_names: dict, renamed: dict[str, str]):
    """Each of them: ComfyUI drops an input that it does not know, and another picture would come, without a word."""
    picture = comfy.run(old_names).images
    assert set(renamed) <= set(old_names[SAMPLER]["inputs"])
    assert torch.equal(picture, comfy.run(with_new_names(old_names, renamed)).images)
    for name in renamed:
        inputs = {key: value for key, value in old_names[SAMPLER]["inputs"].items() if key != name}
        assert not torch.equal(picture, comfy.run(with_node(old_names, SAMPLER, "LGSSampler", **inputs)).images), name


def test_a_value_may_be_wired_to_an_old_name(comfy: Client, old_names: dict):
    wired = with_inputs(with_node(old_names, "20", "PrimitiveFloat", value=1.5), lanczos_min_sigma=["20", 0])
    assert torch.equal(comfy.run(wired).images, comfy.run(old_names).images)


def test_an_old_name_beside_the_new_one_is_refused(comfy: Client, old_names: dict):
    inputs = old_names[SAMPLER]["inputs"] | {"covariance_min_sigma": 1.5}
    run = comfy.run(with_node(old_names, SAMPLER, "LGSSampler", **inputs))
    assert run.outcome == "execution_error" and run.details["node_type"] == "LGSSampler"
    for words in ("covariance_min_sigma", "lanczos_min_sigma", "expected one value, got two"):
        assert words in run.details["exception_message"]


def test_values_of_old_names_are_checked(comfy: Client, old_names: dict):
    with pytest.raises(Rejected) as refused:
        comfy.run(with_inputs(old_names, lanczos_max_sigma=-1.0))
    assert "lanczos_max_sigma" in refused.value.errors


def test_old_names_are_not_shown(comfy: Client, renamed: dict[str, str]):
    info = comfy.get_json("/object_info/LGSSampler")["LGSSampler"]
    assert renamed and not set(renamed) & set(inputs_of(info))
