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


@pytest.mark.parametrize("kind, title", [("latents", "LGS Denoise - SD1.5, SDXL"), ("flux", "LGS Denoise - FLUX")])
def test_a_node_is_listed_and_has_what_invokeais_own_has(schemas: dict[str, dict], kind: str, title: str):
    own, ours = {
        "latents": ("denoise_latents", "lgs_denoise_latents"),
        "flux": ("flux_denoise", "lgs_flux_denoise"),
    }[kind]
    node = schemas[ours]
    assert node["title"] == title
    assert node["category"] == "latents" and node["node_pack"] == "invokeai-lgs"
    assert {"lgs", "secant", "denoise"} <= set(node["tags"])
    for name in set(schemas[own]["properties"]) - {"type", "scheduler"}:
        assert node["properties"][name] == schemas[own]["properties"][name], name


def test_the_noise_levels_are_eulers(schemas: dict[str, dict]):
    levels = schemas["lgs_denoise_latents"]["properties"]["scheduler"]
    assert levels["enum"] == ["euler", "euler_k"] == list(levels["ui_choice_labels"])
    flux = schemas["lgs_flux_denoise"]["properties"]["scheduler"]
    assert flux["const"] == flux["default"] == "lgs" and flux["ui_hidden"]


def test_flux_has_the_inputs_of_modes_without_products(schemas: dict[str, dict]):
    shown = {entry["id"]: entry for entry in shown_inputs("LGSSampler")}
    fields = schemas["lgs_flux_denoise"]["properties"]
    assert [name for name in shown if name in fields] == ["covariance", "eta", "s_noise", "other_steps"]
    assert fields["covariance"]["enum"] == ["secant", "isotropic", "isotropic-large"]
    for choice in set(shown["covariance"]["choices"]) - set(fields["covariance"]["enum"]):
        assert f"{choice}:" not in fields["covariance"]["description"].replace("isotropic-large:", "")


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
