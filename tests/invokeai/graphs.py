"""Graphs as InvokeAI's page queues them: text to image with LGS Denoise, and its variations."""

from __future__ import annotations

SIZE = 64
"""Of the pictures, in pixels; their latents are an eighth of it."""

PROMPTS = {"positive": "a red house", "negative": "rain"}


class Graph:
    """Nodes by name, and what is wired to what."""

    def __init__(self):
        self.nodes: dict[str, dict] = {}
        self.edges: list[dict] = []

    def add(self, name: str, kind: str, /, **inputs) -> Graph:
        """A node; an input that is a pair is wired to that output of that node."""
        wired = {field: source for field, source in inputs.items() if isinstance(source, tuple)}
        self.nodes[name] = {"id": name, "type": kind} | {f: v for f, v in inputs.items() if f not in wired}
        for field, (node, output) in wired.items():
            self.edges.append(
                {"source": {"node_id": node, "field": output}, "destination": {"node_id": name, "field": field}}
            )
        return self

    def as_json(self) -> dict:
        return {"nodes": self.nodes, "edges": self.edges}


def prompted(model: dict) -> Graph:
    """The model and its two prompts, ``"positive"`` and ``"negative"``."""
    graph = Graph()
    if model["base"] == "sdxl":
        graph.add("model", "sdxl_model_loader", model=model)
        for name, prompt in PROMPTS.items():
            clips = {"clip": ("model", "clip"), "clip2": ("model", "clip2")}
            size = {f"{kind}_{side}": SIZE for kind in ("original", "target") for side in ("width", "height")}
            graph.add(name, "sdxl_compel_prompt", prompt=prompt, **clips, **size)
    else:
        graph.add("model", "main_model_loader", model=model)
        for name, prompt in PROMPTS.items():
            graph.add(name, "compel", prompt=prompt, clip=("model", "clip"))
    return graph


def text_to_image(model: dict, *, seed: int = 7, kind: str = "lgs_denoise_latents", **inputs) -> Graph:
    """The nodes ``"denoise"`` and ``"picture"``; ``inputs`` are those of the former."""
    graph = prompted(model).add("noise", "noise", seed=seed, width=SIZE, height=SIZE)
    given = {
        "positive_conditioning": ("positive", "conditioning"),
        "negative_conditioning": ("negative", "conditioning"),
        "unet": ("model", "unet"),
        "noise": ("noise", "noise"),
        "steps": 6,
        "cfg_scale": 3.0,
    }
    graph.add("denoise", kind, **given | inputs)
    return graph.add("picture", "l2i", latents=("denoise", "latents"), vae=("model", "vae"))


def flux(model: dict, prompts: dict[str, dict], *, kind: str = "lgs_flux_denoise", **inputs) -> Graph:
    """The node ``"denoise"``. ``prompts`` are those that `InvokeServer.keep_prompt` gives."""
    given = {
        "transformer": {"transformer": model | {"submodel_type": "transformer"}, "loras": []},
        "positive_text_conditioning": prompts["positive"],
        "width": SIZE,
        "height": SIZE,
        "num_steps": 5,
        "seed": 7,
    }
    return Graph().add("denoise", kind, **given | inputs)
