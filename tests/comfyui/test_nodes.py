"""What ComfyUI says about the nodes is what the manifest says."""

import json
from pathlib import Path

import pytest

from .client import Client

BESIDE = {
    "LGSSampler": "KSamplerSelect",
    "LGSDemoModel": "CheckpointLoaderSimple",
    "LGSLoadDiagonal": "CheckpointLoaderSimple",
    "LGSReport": "KSamplerSelect",
    "LGSCovariance": "SamplerCustomAdvanced",
    "LGSFitStart": "SamplerCustomAdvanced",
    "LGSLoadStart": "CheckpointLoaderSimple",
    "LGSStart": "KSamplerSelect",
}
"""The host's own node in whose menu each of ours is listed."""


@pytest.fixture
def manifest(pack: Path) -> dict:
    nodes = json.loads((pack / "manifests" / "nodes.json").read_text(encoding="utf-8"))["nodes"]
    return {node["id"]: node for node in nodes}


@pytest.mark.parametrize("node_id", BESIDE)
def test_schema_is_the_manifest(comfy: Client, manifest: dict, node_id: str):
    node = manifest[node_id]
    info = comfy.get_json(f"/object_info/{node_id}")[node_id]

    assert info["display_name"] == node["display_name"]
    assert info["description"] == node["description"]
    assert info["category"] == comfy.get_json(f"/object_info/{BESIDE[node_id]}")[BESIDE[node_id]]["category"]
    if "search_aliases" in info:
        assert info["search_aliases"] == node["search_aliases"]

    shown = [entry for entry in node["inputs"] if "source" not in entry]
    shown += node.get("sockets", [])
    # Optional where that goes, so that a graph that was saved before an input came still runs.
    groups = {entry["id"]: "required" if entry.get("required") or "pattern" in entry else "optional" for entry in shown}
    for group in ("required", "optional"):
        assert list(info["input"].get(group, {})) == [name for name in groups if groups[name] == group]
    for entry in shown:
        kind, options = info["input"][groups[entry["id"]]][entry["id"]]
        assert kind == entry["type"]
        modes = entry.get("modes", {})
        for key in ("display_name", "min", "max", "step", "advanced"):
            assert options.get(key) == entry.get(key), (entry["id"], key)
        assert options["tooltip"] == " ".join([*(mode["tooltip"] for mode in modes.values()), entry["tooltip"]])
        default = next(iter(modes), entry.get("recommended", entry.get("default")))
        assert options.get("default") == default, entry["id"]
        assert options.get("options") == ([*modes, *entry["choices"]] if "choices" in entry else None)

    assert info["output"] == [entry["type"] for entry in node["outputs"]]
    assert info["output_name"] == [entry["display_name"] for entry in node["outputs"]]
    assert info["output_tooltips"] == [entry.get("tooltip") for entry in node["outputs"]]


def test_every_node_of_the_manifest_is_there(comfy: Client, manifest: dict):
    ours = {
        name: info
        for name, info in comfy.get_json("/object_info").items()
        if info["python_module"] == "custom_nodes.comfyui-lgs"
    }
    assert set(ours) == set(manifest) == set(BESIDE)
