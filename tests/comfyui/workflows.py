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

STEPS = 3


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


def scheduled(graph: dict, model: Link, steps: int = STEPS, denoise: float = 1.0) -> Link:
    return add(graph, "BasicScheduler", model=model, scheduler="normal", steps=steps, denoise=denoise)


def by_guider(guider: Link, sigmas: Link, latent: Link) -> Sampling:
    """SamplerCustomAdvanced."""

    def sampling(graph: dict, sampler: Link, seed: int) -> Link:
        noise = add(graph, "RandomNoise", noise_seed=seed)
        inputs = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent}
        return add(graph, "SamplerCustomAdvanced", **inputs)

    return sampling


def by_guidance(model: Link, positive: Link, negative: Link, sigmas: Link, latent: Link, cfg: float) -> Sampling:
    """SamplerCustom."""

    def sampling(graph: dict, sampler: Link, seed: int) -> Link:
        inputs = {"model": model, "positive": positive, "negative": negative, "sigmas": sigmas, "latent_image": latent}
        return add(graph, "SamplerCustom", **inputs, sampler=sampler, add_noise=True, noise_seed=seed, cfg=cfg)

    return sampling


def lgs_sampler(graph: dict, **inputs: object) -> Link:
    """With as few evaluations as its default covariance takes."""
    return add(graph, "LGSSampler", **{"lanczos_steps": 1} | inputs)


def side_by_side(graph: dict, sampling: Sampling, without: Sampling | None = None, **inputs: object) -> dict[str, Link]:
    """The branches that every workflow is checked by; gives their latents.

    LGS Sampler, with these inputs, twice, its secant, with noise, and what ComfyUI has in their places: Heun's method
    for the secant, as it is of second order too. Without noise and covariance it is Euler's method, whatever the graph
    does to the model; that once more without what the workflow is about, or else LGS Sampler with another seed.
    """
    lgs = lgs_sampler(graph, **inputs)
    again = lgs_sampler(graph, **inputs, probes=2)  # this covariance has none: the same, in another node
    secant = add(graph, "LGSSampler", covariance="secant", eta=0.3)
    deterministic = add(graph, "LGSSampler", covariance="isotropic", eta=0.0)
    theirs = {name: add(graph, "KSamplerSelect", sampler_name=name) for name in ("euler_ancestral", "euler", "heun")}
    branches = {name: sampling(graph, sampler, SEED) for name, sampler in theirs.items()}
    branches |= {
        "lgs": sampling(graph, lgs, SEED),
        "again": sampling(graph, again, SEED),
        "secant": sampling(graph, secant, SEED),
        "deterministic": sampling(graph, deterministic, SEED),
    }
    if without is None:
        branches["other_seed"] = sampling(graph, lgs, OTHER_SEED)
    else:
        branches["without"] = without(graph, theirs["euler"], SEED)
    for name, samples in branches.items():
        add(graph, "SaveLatent", samples=samples, filename_prefix=name)
    return branches


def run(server: ComfyServer, graph: dict, timeout: float = 300) -> Run:
    """Runs a graph, to its end."""
    run = Client(server.address).run(graph, timeout=timeout)
    assert run.outcome == "execution_success", f"{run.details.get('exception_message')}\n{server.log_tail()}"
    return run


def saved_latents(server: ComfyServer, run: Run) -> dict[str, Tensor]:
    """By the branch that each was saved under."""
    history = Client(server.address).get_json(f"/history/{run.prompt_id}")
    outputs = history[run.prompt_id]["outputs"].values()
    files = [file["filename"] for output in outputs for file in output.get("latents", [])]
    # ComfyUI puts a number at the end: lgs_00001_.latent
    return {file.rsplit("_", 2)[0]: load_file(server.folder / "output" / file)["latent_tensor"] for file in files}


def distance(a: Tensor, b: Tensor) -> float:
    """Relative to b."""
    return float((a - b).norm() / b.norm())


def check(latents: dict[str, Tensor], rounding: float = 1e-4) -> None:
    """What holds for every workflow: LGS Sampler gives what ComfyUI's own gives, in shape and size; its seed decides
    it, to the last bit; it has a covariance of its own; and without it, it is ComfyUI's Euler method."""
    lgs, theirs = latents["lgs"], latents["euler_ancestral"]
    for name, latent in latents.items():
        assert latent.shape == theirs.shape, name
        assert latent.dtype == theirs.dtype, name
        assert latent.isfinite().all(), name
        assert latent.std() > 0, name
    assert 1 / 10 < lgs.std() / theirs.std() < 10
    # What second order makes of networks whose weights are random can be large: Heun's is 50 times Euler's for one.
    assert theirs.std() / 10 < latents["secant"].std() < 10 * max(theirs.std(), latents["heun"].std())
    assert all(distance(latents["secant"], other) > 1e-3 for other in (lgs, theirs, latents["euler"]))
    assert lgs.equal(latents["again"]), "the same seed gave another latent"
    assert distance(lgs, theirs) > 0.05
    if "other_seed" in latents:
        assert distance(lgs, latents["other_seed"]) > 0.05
    if "without" in latents:
        assert distance(latents["euler"], latents["without"]) > 1e-3, "what the workflow is about made no difference"
    assert distance(latents["deterministic"], latents["euler"]) < rounding
