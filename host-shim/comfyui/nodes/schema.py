"""ComfyUI's node schemas, built from ``manifests/nodes.json``, where the nodes are declared once."""

from __future__ import annotations

import dataclasses

from comfy_api.latest import io
from nodes import NODE_CLASS_MAPPINGS

from ..lgs.node_manifest import node_definition, shown_inputs

OWN = {name: io.Custom(name) for name in ("LGS_DIAGONAL", "LGS_START")}
"""Types of our own, which only our nodes give and take."""

SOCKETS = {
    "SAMPLER": io.Sampler,
    "SIGMAS": io.Sigmas,
    "GUIDER": io.Guider,
    "NOISE": io.Noise,
    "LATENT": io.Latent,
    "VAE": io.Vae,
    "IMAGE": io.Image,
    **OWN,
}

INPUTS = {"COMBO": io.Combo, "INT": io.Int, "FLOAT": io.Float, "BOOLEAN": io.Boolean, "STRING": io.String}

OUTPUTS = {
    "SAMPLER": io.Sampler,
    "SIGMAS": io.Sigmas,
    "MODEL": io.Model,
    "CONDITIONING": io.Conditioning,
    "VAE": io.Vae,
    "LATENT": io.Latent,
    "IMAGE": io.Image,
    "STRING": io.String,
    **OWN,
}


def node_schema(node_id: str, beside: str) -> io.Schema:
    """The schema of a node of the manifest, listed in the menu beside the host's node ``beside``."""
    node = node_definition(node_id)
    known = {field.name for field in dataclasses.fields(io.Schema)}
    optional = {"search_aliases": node.get("search_aliases", [])}  # ComfyUI 0.3.64 has no such field
    return io.Schema(
        node_id=node["id"],
        display_name=node["display_name"],
        category=_category(beside, node["category"]),
        description=node["description"],
        inputs=[
            *(_input(entry) for entry in shown_inputs(node_id)),
            *(_socket(entry) for entry in node.get("sockets", [])),
        ],
        outputs=[_output(entry) for entry in node["outputs"]],
        is_output_node=node.get("output_node", False),
        **{name: value for name, value in optional.items() if name in known},
    )


def with_old_names(node_id: str, input_types: dict | tuple) -> dict | tuple:
    """What ``INPUT_TYPES`` of a node gives, with earlier names of its inputs (the manifest's aliases) as further
    optional inputs. In 0.3.64 it may be a tuple whose first element is the inputs."""
    inputs = input_types[0] if isinstance(input_types, tuple) else input_types
    optional = inputs.get("optional", {})
    for entry in node_definition(node_id)["inputs"]:
        for alias in entry.get("aliases", []):
            optional[alias] = optional[entry["id"]]
    return input_types


def _category(beside: str, otherwise: str) -> str:
    """The menu of the host's own node of this kind: ComfyUI has renamed its menus over time."""
    return getattr(NODE_CLASS_MAPPINGS.get(beside), "CATEGORY", None) or otherwise


def _input(entry: dict) -> io.Input:
    kind = entry["type"]
    keys = ("display_name", "tooltip", "default", "min", "max", "step")
    options = {key: entry[key] for key in keys if key in entry}
    # A graph that is posted without an input runs: the option's default is the library's then.
    options["optional"] = "pattern" not in entry
    if kind == "COMBO":
        options["options"] = entry["choices"]
    if kind == "FLOAT":
        options["round"] = False  # or the front end would round what is typed to a multiple of step
    widget = INPUTS[kind].Input(entry["id"], **options)
    if kind == "INT" and entry["id"] == "seed":
        # The front end draws another one for each run, or what takes minutes would be done anew each time.
        widget.extra_dict["control_after_generate"] = False
    if entry.get("advanced"):
        widget.extra_dict["advanced"] = True  # the argument of this name is newer than 0.3.64, the front end's is not
    return widget


def _socket(entry: dict) -> io.Input:
    names = {key: entry[key] for key in ("display_name", "tooltip")}
    return SOCKETS[entry["type"]].Input(entry["id"], optional=not entry.get("required", False), **names)


def _output(entry: dict) -> io.Output:
    return OUTPUTS[entry["type"]].Output(display_name=entry["display_name"], tooltip=entry.get("tooltip"))
