"""Graphs as people build them, in API format, each sampled by LGS Sampler and by euler_ancestral.

One run of the server holds both, and all else that is compared: what is loaded, encoded and patched is so
once, and each sampling is a branch of the graph that saves its latent under the branch's name.
"""

from __future__ import annotations

from collections.abc import Callable

from safetensors.torch import load_file
from torch import Tensor

from .client import Client, Run
from .server import ComfyServer

Link = list
"""Where an input comes from: [number of the node, number of its output]."""

Sampling = Callable[[dict, Link, int], Link]
"""Adds to a graph what samples with a sampler and a seed; gives the latent."""

SEED, OTHER_SEED = 7, 8

FAST = {"lanczos_steps": 1}
"""Inputs of LGS Sampler: the fewest evaluations that its default covariance takes."""


def add(graph: dict, class_type: str, **inputs: object) -> Link:
    """Puts a node into the graph, unless the same one is there already; gives its first output.

    ComfyUI 0.3.64 without a cache drops the result of two like nodes once the first is done with it.
    """
    node = {"class_type": class_type, "inputs": inputs}
    same = [number for number, other in graph.items() if other == node]
    number = same[0] if same else str(len(graph) + 1)
    graph[number] = node
    return [number, 0]


def output(node: Link, number: int) -> Link:
    """Another output of the same node."""
    return [node[0], number]


def side_by_side(graph: dict, sampling: Sampling, **inputs: object) -> None:
    """The branches that every workflow is checked by: LGS Sampler, with these inputs, twice and with another
    seed, without its covariance, and ComfyUI's own sampler in its place."""
    inputs = FAST | inputs
    branches = {
        "lgs": (add(graph, "LGSSampler", **inputs), SEED),
        "again": (add(graph, "LGSSampler", **inputs, probes=2), SEED),  # it has none: the same, in another node
        "other_seed": (add(graph, "LGSSampler", **inputs), OTHER_SEED),
        "isotropic": (add(graph, "LGSSampler", covariance="isotropic"), SEED),
        "euler_ancestral": (add(graph, "KSamplerSelect", sampler_name="euler_ancestral"), SEED),
    }
    for name, (sampler, seed) in branches.items():
        add(graph, "SaveLatent", samples=sampling(graph, sampler, seed), filename_prefix=name)


def sampled(server: ComfyServer, graph: dict, timeout: float = 300) -> dict[str, Tensor]:
    """Runs a graph; gives the latents that it saved, by branch."""
    client = Client(server.address)
    run = client.run(graph, timeout=timeout)
    assert run.outcome == "execution_success", run.details
    return saved_latents(server, client, run)


def saved_latents(server: ComfyServer, client: Client, run: Run) -> dict[str, Tensor]:
    outputs = client.get_json(f"/history/{run.prompt_id}")[run.prompt_id]["outputs"].values()
    files = [file["filename"] for output in outputs for file in output.get("latents", [])]
    # ComfyUI puts a number at the end: lgs_00001_.latent
    return {file.rsplit("_", 2)[0]: load_file(server.folder / "output" / file)["latent_tensor"] for file in files}


def distance(a: Tensor, b: Tensor) -> float:
    """Relative to b."""
    return float((a - b).norm() / b.norm())


def check(latents: dict[str, Tensor]) -> None:
    """What holds for every workflow: LGS Sampler gives what ComfyUI's own gives, in shape and size; its seed decides
    it, to the last bit; and it is the covariance that it was sampled with."""
    lgs, theirs = latents["lgs"], latents["euler_ancestral"]
    assert lgs.shape == theirs.shape
    assert lgs.dtype == theirs.dtype
    for name, latent in latents.items():
        assert latent.isfinite().all(), name
        assert latent.std() > 0, name
    assert 1 / 4 < lgs.std() / theirs.std() < 4
    assert lgs.equal(latents["again"]), "the same seed gave another latent"
    assert distance(lgs, latents["other_seed"]) > 0.05
    assert distance(lgs, latents["isotropic"]) > 0.01
