"""The manifests are what their schemas say, the schemas say enough, and the library has the same ones."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from lgs import _ffi

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
ASSEMBLED = _ffi.HOME


def read(file: Path):
    return json.loads(file.read_text(encoding="utf-8"))


def validator(name: str) -> Draft202012Validator:
    """Of ``nodes`` or ``engines``."""
    return Draft202012Validator(read(MANIFESTS / f"{name}.schema.json"))


def problems(name: str, manifest) -> list[str]:
    return [error.message for error in validator(name).iter_errors(manifest)]


def test_there_is_a_schema_for_every_manifest():
    schemas = {file.name for file in MANIFESTS.glob("*.schema.json")}
    manifests = {file.name for file in MANIFESTS.glob("*.json")} - schemas
    assert manifests == {"nodes.json", "engines.json"}
    assert {read(MANIFESTS / name)["$schema"] for name in manifests} == schemas


@pytest.mark.parametrize("name", ["nodes", "engines"])
def test_the_schema_is_one(name):
    schema = read(MANIFESTS / f"{name}.schema.json")
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", ["nodes", "engines"])
def test_the_manifest_is_valid(name):
    assert problems(name, read(MANIFESTS / f"{name}.json")) == []


def node(manifest, id_):
    return next(node for node in manifest["nodes"] if node["id"] == id_)


def option(manifest, id_):
    return next(input_ for input_ in node(manifest, "LGSSampler")["inputs"] if input_["id"] == id_)


def changed(change):
    """The node manifest after `change`."""
    manifest = copy.deepcopy(read(MANIFESTS / "nodes.json"))
    change(manifest)
    return manifest


@pytest.mark.parametrize(
    "mistake",
    [
        lambda m: m.pop("format"),
        lambda m: m.update(format=2),
        lambda m: m.update(nodes=[]),
        lambda m: m.update(extra=1),
        lambda m: node(m, "LGSSampler").pop("category"),
        lambda m: node(m, "LGSSampler").update(display_name=""),
        lambda m: node(m, "LGSSampler").update(id="LGS Sampler"),
        lambda m: node(m, "LGSSampler").update(outputs=[]),
        lambda m: node(m, "LGSSampler").update(colour="red"),
        lambda m: node(m, "LGSSampler")["outputs"][0].update(type="SAMPLE"),
        lambda m: node(m, "LGSDemoModel")["outputs"][0].update(tip="x"),
        lambda m: option(m, "lanczos_steps").pop("default"),
        lambda m: option(m, "lanczos_steps").pop("tooltip"),
        lambda m: option(m, "lanczos_steps").pop("max"),
        lambda m: option(m, "lanczos_steps").update(default="3"),
        lambda m: option(m, "lanczos_steps").update(default=2.5),
        lambda m: option(m, "lanczos_steps").update(recommended="1"),
        lambda m: option(m, "other_steps").update(recommended=1),
        lambda m: option(m, "lanczos_steps").update(step=0),
        lambda m: option(m, "lanczos_steps").update(type="INTEGER"),
        lambda m: option(m, "lanczos_steps").update(choices=["1"]),
        lambda m: option(m, "lanczos_steps").update(id="Lanczos-Steps"),
        lambda m: option(m, "eta").update(min="0"),
        lambda m: option(m, "eta").update(minimum=0),
        lambda m: option(m, "covariance").pop("choices"),
        lambda m: option(m, "covariance").update(choices=["lanczos", "lanczos"]),
        lambda m: option(m, "covariance").update(choices=[]),
        lambda m: option(m, "covariance").update(default=3),
        lambda m: option(m, "covariance").update(max=3),
        lambda m: option(m, "extended").update(default=1),
        lambda m: option(m, "extended").update(advanced="yes"),
        lambda m: option(m, "process").update(source="host"),
    ],
)
def test_a_mistake_in_the_node_manifest_is_refused(mistake):
    assert problems("nodes", changed(mistake)) != []


BUILT = {
    "torch": "2.11",
    "tch": "0.24",
    "platform": "linux-x86_64",
    "file": "liblgs_engine-torch2.11.so",
    "sha256": "0" * 64,
}


STABLE = {name: value for name, value in BUILT.items() if name != "tch"} | {"torch": "2.10", "and_newer": True}


def engines(build, **more):
    return {"format": 1, "engines": [build], **more}


@pytest.mark.parametrize("build", [BUILT, STABLE])
def test_a_built_engine_is_accepted(build):
    assert problems("engines", engines(build)) == []


@pytest.mark.parametrize(
    "manifest",
    [
        {"format": 1},
        engines(BUILT, format="1"),
        engines(BUILT, extra=1),
        engines({"torch": "2.11"}),
        engines(BUILT | {"torch": 2.11}),
        engines(BUILT | {"torch": "2.11.0"}),
        engines(BUILT | {"tch": "latest"}),
        engines(BUILT | {"platform": "beos-x86_64"}),
        engines(BUILT | {"file": "../liblgs_engine.so"}),
        engines(BUILT | {"file": "C:\\liblgs_engine.dll"}),
        engines(BUILT | {"file": ""}),
        engines(BUILT | {"sha256": "0" * 63}),
        engines(BUILT | {"sha256": "A" * 64}),
        engines(BUILT | {"sha1": "0" * 40}),
        engines(BUILT | {"and_newer": True}),
        engines(STABLE | {"and_newer": False}),
        *(engines({name: v for name, v in BUILT.items() if name != left_out}) for left_out in BUILT),
    ],
)
def test_a_mistake_in_an_engine_manifest_is_refused(manifest):
    assert problems("engines", manifest) != []


def test_ids_are_unique():
    nodes = read(MANIFESTS / "nodes.json")["nodes"]
    ids = [node["id"] for node in nodes]
    assert len(set(ids)) == len(ids)
    for node in nodes:
        inputs = [input_["id"] for input_ in node["inputs"]]
        assert len(set(inputs)) == len(inputs), node["id"]


def inputs():
    """Every input, and the node it is of."""
    return [(node["id"], input_) for node in read(MANIFESTS / "nodes.json")["nodes"] for input_ in node["inputs"]]


@pytest.mark.parametrize(("node_id", "input_"), inputs(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_default_is_one_of_the_values_that_it_is_the_default_of(node_id, input_):
    for default in (input_["default"], input_.get("recommended", input_["default"])):
        if "choices" in input_:
            assert default in input_["choices"]
        if "min" in input_:
            assert input_["min"] < input_["max"]
            assert input_["min"] <= default <= input_["max"]
        if "pattern" in input_:
            assert re.search(input_["pattern"], default)


@pytest.mark.parametrize(("node_id", "input_"), inputs(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_recommendation_is_no_repetition(node_id, input_):
    assert "recommended" not in input_ or input_["recommended"] != input_["default"]


def test_the_library_has_the_node_manifest_as_it_is():
    api = _ffi.library().api
    assert api.manifest() == (MANIFESTS / "nodes.json").read_bytes()


def test_the_library_s_defaults_are_the_manifest_s():
    import lgs

    sampler = node(read(MANIFESTS / "nodes.json"), "LGSSampler")
    assert lgs.Options().as_dict() == {input_["id"]: input_["default"] for input_ in sampler["inputs"]}


def test_the_recommended_options_are_the_manifest_s():
    import lgs

    sampler = node(read(MANIFESTS / "nodes.json"), "LGSSampler")
    start = {input_["id"]: input_.get("recommended", input_["default"]) for input_ in sampler["inputs"]}
    assert lgs.Options.recommended().as_dict() == start
    assert lgs.Options.recommended() != lgs.Options()
    assert lgs.Options.recommended(lanczos_steps=2).as_dict() == start | {"lanczos_steps": 2}


def test_the_assembled_folder_has_the_manifests_and_their_schemas():
    for name in ("nodes.json", "nodes.schema.json", "engines.schema.json"):
        assert (ASSEMBLED / "manifests" / name).read_bytes() == (MANIFESTS / name).read_bytes(), name


def test_the_assembled_engine_manifest_is_valid_and_its_checksums_right():
    file = ASSEMBLED / "bin" / "engines.json"
    manifest = read(file)
    assert problems("engines", manifest) == []
    assert (file.parent / manifest["$schema"]).resolve() == ASSEMBLED / "manifests" / "engines.schema.json"
    builds = manifest["engines"]
    assert builds
    for build in builds:
        assert hashlib.sha256((file.parent / build["file"]).read_bytes()).hexdigest() == build["sha256"]
        assert ("stable" if build.get("and_newer") else build["torch"]) in build["file"]
    sources = {(build["torch"], build.get("tch")) for build in read(MANIFESTS / "engines.json")["engines"]}
    assert {(build["torch"], build.get("tch")) for build in builds} <= sources
    assert {build["torch"] for build in builds if build.get("and_newer")} == {"2.10"}


def test_a_mode_is_the_choice_of_an_option_that_has_no_input():
    inputs = {entry["id"]: entry for entry in node(read(MANIFESTS / "nodes.json"), "LGSSampler")["inputs"]}
    modes = {name: mode["option"] for entry in inputs.values() for name, mode in entry.get("modes", {}).items()}
    assert modes
    for name, option in modes.items():
        assert inputs[option]["source"] == "mode" and name in inputs[option]["choices"]
        assert not any(name in entry.get("choices", []) for id, entry in inputs.items() if id != option)
    assert {id for id, entry in inputs.items() if entry.get("source") == "mode"} == set(modes.values())
