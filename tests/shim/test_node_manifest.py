"""The nodes as hosts build them, of what the manifest declares."""

import json

import pytest

import lgs
from lgs import _ffi, node_manifest
from lgs.node_manifest import node_definition, options_of, shown_inputs

SAMPLER = "LGSSampler"


def test_what_is_shown_is_what_the_manifest_has():
    declared = json.loads((_ffi.HOME / "manifests" / "nodes.json").read_text(encoding="utf-8"))["nodes"]
    assert [node_definition(node["id"]) for node in declared] == declared
    inputs = {entry["id"]: entry for entry in next(node for node in declared if node["id"] == SAMPLER)["inputs"]}
    shown = {entry["id"]: entry for entry in shown_inputs(SAMPLER)}
    assert list(shown) == [name for name, entry in inputs.items() if "source" not in entry]
    assert (
        shown["lanczos_steps"]["default"]
        == inputs["lanczos_steps"]["recommended"]
        != inputs["lanczos_steps"]["default"]
    )
    assert shown["probes"] == inputs["probes"]


def test_modes_are_choices_and_the_first_is_the_default():
    [mode] = [entry for entry in shown_inputs(SAMPLER) if entry["id"] == "covariance"]
    assert mode["choices"][:2] == ["secant", "lanczos"] and mode["default"] == "secant"
    assert mode["tooltip"].startswith("secant: ") and "lanczos: " in mode["tooltip"]


def test_a_mode_stands_for_another_option():
    assert options_of(SAMPLER, {"covariance": "secant", "eta": 0.2}) == {"solver": "secant", "eta": 0.2}
    assert options_of(SAMPLER, {"covariance": "lanczos"}) == {"covariance": "lanczos"}
    assert options_of(SAMPLER, {}) == {}


def test_the_nodes_defaults_are_those_that_are_recommended():
    defaults = {entry["id"]: entry["default"] for entry in shown_inputs(SAMPLER)}
    assert lgs.Options(**options_of(SAMPLER, defaults)) == lgs.Options.recommended()


@pytest.mark.parametrize("text", ["", "[]", '{"nodes": []}', None], ids=["empty", "a list", "no nodes", "no file"])
def test_a_folder_without_its_manifest_says_so(tmp_path, monkeypatch, text: str | None):
    if text is not None:
        (tmp_path / "nodes.json").write_text(text)
    monkeypatch.setattr(node_manifest, "MANIFEST", tmp_path / "nodes.json")
    with pytest.raises(
        RuntimeError, match="does not declare the node LGSSampler .* Unpack the whole plugin folder again"
    ):
        node_definition.__wrapped__(SAMPLER)
