"""The two formats of a workflow: what the editor saves, and what it posts to the server.

In both directions as ComfyUI's front end does it, from what ``/object_info`` says of the nodes: the values of a node's
widgets are a list in the order of its inputs, with a value more after a seed and after an uploaded image.
"""

from __future__ import annotations

import itertools
import uuid

WIDGETS = ("COMBO", "INT", "FLOAT", "BOOLEAN", "STRING")
UNSENT = ("Note", "MarkdownNote")
"""Nodes that are the editor's alone."""

COLUMN, ROW, GAP = 400, 26, 60


def inputs_of(info: dict) -> dict[str, tuple[object, dict]]:
    """{name: (type, options)} of a node, in the order of its widgets."""
    groups = info["input"]
    entries = {**groups.get("required", {}), **groups.get("optional", {})}
    return {name: (entry[0], entry[1] if len(entry) > 1 else {}) for name, entry in entries.items()}


def is_widget(kind: object, options: dict) -> bool:
    """Whether an input has a value of its own. A list is the choices of a combo, in nodes of the older kind."""
    return (isinstance(kind, list) or kind in WIDGETS) and not options.get("forceInput")


def _values_after(options: dict) -> list[str]:
    """The values of the widgets that the front end adds after one."""
    return ["fixed"] * bool(options.get("control_after_generate")) + ["image"] * bool(options.get("image_upload"))


def to_api(infos: dict[str, dict], workflow: dict) -> dict:
    """What the front end posts for a saved workflow. Inputs that are newer than it get the node's defaults."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph = {}
    for node in workflow["nodes"]:
        if node["type"] in UNSENT:
            continue
        values = iter(node["widgets_values"])
        inputs = {entry["name"]: links[entry["link"]] for entry in node["inputs"] if entry["link"] is not None}
        for name, (kind, options) in inputs_of(infos[node["type"]]).items():
            if not is_widget(kind, options):
                needed = name in infos[node["type"]]["input"].get("required", {})
                assert name in inputs or not needed, f"{node['type']}: nothing is wired to {name}"
                continue
            inputs.setdefault(name, next(values, options.get("default")))
            assert list(itertools.islice(values, len(_values_after(options)))) == _values_after(options)
        assert not list(values), f"{node['type']} has more values than widgets"
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
        if "title" in node:
            graph[str(node["id"])]["_meta"] = {"title": node["title"]}
    return graph


def to_editor(infos: dict[str, dict], graph: dict, name: str, note: str) -> dict:
    """A workflow for the editor: a graph in API format, laid out from left to right, and a note."""
    nodes, links = {}, []
    depths = _depths(graph)
    bottoms = [0.0] * (max(depths.values()) + 1)
    order = sorted(graph, key=lambda node_id: (depths[node_id], int(node_id)))
    for position, node_id in enumerate(order):
        info, given = infos[graph[node_id]["class_type"]], graph[node_id]["inputs"]
        entries, values = [], []
        for input_name, (kind, options) in inputs_of(info).items():
            entry = {"name": input_name, "type": "COMBO" if isinstance(kind, list) else kind, "link": None}
            if is_widget(kind, options):
                entry["widget"] = {"name": input_name}
                values += [given.get(input_name, options.get("default")), *_values_after(options)]
            elif input_name in given:
                source, slot = given[input_name]
                output = nodes[source]["outputs"][slot]
                links.append([len(links) + 1, int(source), slot, int(node_id), len(entries), output["type"]])
                entry["link"] = len(links)
                output["links"].append(len(links))
            entries.append(entry)
        sockets = sum("widget" not in entry for entry in entries)
        size = _size(graph[node_id]["class_type"], max(sockets, len(info["output"])) + len(values))
        column = depths[node_id]
        nodes[node_id] = {
            "id": int(node_id),
            "type": graph[node_id]["class_type"],
            "pos": [COLUMN * column, bottoms[column]],
            "size": size,
            "flags": {},
            "order": position,
            "mode": 0,
            "inputs": entries,
            "outputs": [
                {"name": output, "type": kind, "slot_index": slot, "links": []}
                for slot, (output, kind) in enumerate(zip(info["output_name"], info["output"], strict=True))
            ],
            "properties": {"Node name for S&R": graph[node_id]["class_type"]},
            "widgets_values": values,
        }
        if "_meta" in graph[node_id]:
            nodes[node_id]["title"] = graph[node_id]["_meta"]["title"]
        bottoms[column] += size[1] + GAP
    last = max(map(int, graph)) + 1
    nodes[str(last)] = {
        "id": last,
        "type": "MarkdownNote",
        "pos": [0, bottoms[0]],
        "size": [340, 220],
        "flags": {},
        "order": len(graph),
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [note],
    }
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "revision": 0,
        "last_node_id": last,
        "last_link_id": len(links),
        "nodes": list(nodes.values()),
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _depths(graph: dict) -> dict[str, int]:
    """The column of each node: one right of the rightmost that it is wired to."""
    depths: dict[str, int] = {}

    def depth(node_id: str) -> int:
        if node_id not in depths:
            sources = [value[0] for value in graph[node_id]["inputs"].values() if isinstance(value, list)]
            depths[node_id] = max((depth(source) + 1 for source in sources), default=0)
        return depths[node_id]

    for node_id in graph:
        depth(node_id)
    return depths


def _size(class_type: str, rows: int) -> list[int]:
    """Of a node, with room for the text or the picture that some hold."""
    content = {
        "CLIPTextEncode": 110,
        "LoadImage": 280,
        "SaveImage": 300,
        "PreviewImage": 300,
        "LGSFitStart": 220,
        "SamplerCustomAdvanced": 260,  # the live preview
        "PreviewAny": 180,
    }
    return [340, ROW * (rows + 1) + content.get(class_type, 0)]
