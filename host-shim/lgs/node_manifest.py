"""What ``manifests/nodes.json`` declares of the nodes, as a host builds its own of it."""

from __future__ import annotations

import functools
import json
from typing import Any

from ._ffi.liblgs import AGAIN, HOME

MANIFEST = HOME / "manifests" / "nodes.json"


@functools.cache
def node_definition(node_id: str) -> dict[str, Any]:
    """What the manifest says about a node."""
    try:
        nodes = json.loads(MANIFEST.read_text(encoding="utf-8"))["nodes"]
        return next(node for node in nodes if node["id"] == node_id)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise RuntimeError(
            f"{MANIFEST} does not declare the node {node_id} ({type(error).__name__}: {error}). "
            f"It is incomplete or damaged. {AGAIN}."
        ) from error


def shown_inputs(node_id: str) -> list[dict[str, Any]]:
    """The inputs that users see, each with the node's own ``default``; modes come first among the ``choices``."""
    return [_as_shown(entry) for entry in node_definition(node_id)["inputs"] if "source" not in entry]


def _as_shown(entry: dict[str, Any]) -> dict[str, Any]:
    default = entry.get("recommended", entry["default"])
    modes = entry.get("modes", {})
    if not modes:
        return entry | {"default": default}
    return entry | {
        "choices": [*modes, *entry["choices"]],
        "tooltip": " ".join([*(mode["tooltip"] for mode in modes.values()), entry["tooltip"]]),
        "default": next(iter(modes)),
    }


def options_of(node_id: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The options that the values of a node's inputs stand for: a mode is the choice of another option."""
    options = dict(inputs)
    for entry in node_definition(node_id)["inputs"]:
        if mode := entry.get("modes", {}).get(inputs.get(entry["id"])):
            options[mode["option"]] = options.pop(entry["id"])
    return options
