"""The node as InvokeAI's page gets it: its schema, built from the manifest."""

from __future__ import annotations

import pytest

from lgs.node_manifest import shown_inputs

from .client import Client

WITHOUT = {"doubled_batch", "diagonal-learned"}


@pytest.fixture(scope="module")
def schemas(invoke: Client) -> dict[str, dict]:
    """Of the nodes, by type."""
    schemas = invoke.get_json("/openapi.json")["components"]["schemas"].values()
    return {node["properties"]["type"]["const"]: node for node in schemas if node.get("class") == "invocation"}


@pytest.fixture(scope="module")
def node(schemas: dict[str, dict]) -> dict:
    return schemas["lgs_denoise_latents"]


def test_the_node_is_listed(node: dict):
    assert node["title"] == "LGS Denoise - SD1.5, SDXL"
    assert node["category"] == "latents" and node["node_pack"] == "invokeai-lgs"
    assert {"lgs", "secant", "denoise"} <= set(node["tags"])


def test_it_has_what_invokeais_own_node_has(node: dict, schemas: dict[str, dict]):
    own = schemas["denoise_latents"]["properties"]
    for name in set(own) - {"type", "scheduler"}:
        assert node["properties"][name] == own[name], name
    levels = node["properties"]["scheduler"]
    assert levels["enum"] == ["euler", "euler_k"] and levels["enum"] == list(levels["ui_choice_labels"])


@pytest.mark.parametrize("entry", shown_inputs("LGSSampler"), ids=lambda entry: entry["id"])
def test_an_input_is_what_the_manifest_declares(node: dict, entry: dict):
    if entry["id"] in WITHOUT:
        assert entry["id"] not in node["properties"]
        return
    field = node["properties"][entry["id"]]
    assert field["title"] == entry["display_name"] and field["input"] == "any"
    assert field["default"] == field["orig_default"] == entry["default"]
    assert (field.get("minimum"), field.get("maximum")) == (entry.get("min"), entry.get("max"))
    types = {"COMBO": "string", "INT": "integer", "FLOAT": "number", "BOOLEAN": "boolean"}
    assert field["type"] == types[entry["type"]]
    assert field.get("enum", []) == [choice for choice in entry.get("choices", []) if choice not in WITHOUT]
    if WITHOUT & set(entry.get("choices", [])):
        assert not any(choice in field["description"] for choice in WITHOUT)
        for sentence in field["description"].split(". "):
            assert sentence in entry["tooltip"]
    else:
        assert field["description"] == entry["tooltip"]
