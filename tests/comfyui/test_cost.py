"""What a step of LGS Sampler costs in ComfyUI, in steps of euler_ancestral on the same graph."""

import time
from collections.abc import Iterator

import pytest
from shim.batch.cluster.faults import hosts

from .client import Client, Run
from .loaded import random_texts
from .server import ComfyServer
from .workflows import add, by_guider, scheduled

PAIRS = 4

MOST = 4.1
"""Three products and D(x) are four evaluations; the rest is for everything else that a step does."""


# A machine's speed may change while it is measured.
@pytest.mark.flaky(reruns=2)
def test_three_products_cost_little_more_than_three_evaluations(server_with_models: ComfyServer, capsys):
    """A UNet as wide as Stable Diffusion 1.5's, guided; each sampling is one node, and the nodes take turns.

    The last step of a trajectory to sigma = 0 takes no products; so these end before it.
    """
    graph = {}
    model = add(graph, "UNETLoader", unet_name="sd15.ckpt", weight_dtype="default")
    positive, negative = random_texts(graph, width=768, pooled=768)
    guider = add(graph, "CFGGuider", model=model, positive=positive, negative=negative, cfg=5.0)
    latent = add(graph, "EmptyLatentImage", width=128, height=128, batch_size=1)
    sigmas = add(graph, "SplitSigmas", sigmas=scheduled(graph, model, steps=7), step=6)
    sampling = by_guider(guider, sigmas, latent)
    samplers = {
        "lgs": add(graph, "LGSSampler", lanczos_steps=3, covariance_min_sigma=0.0, jvp="finite-difference"),
        "euler_ancestral": add(graph, "KSamplerSelect", sampler_name="euler_ancestral"),
    }
    nodes = {name: [sampling(graph, sampler, seed)[0] for seed in range(PAIRS)] for name, sampler in samplers.items()}
    for pair in zip(*nodes.values(), strict=True):
        for node in pair:
            add(graph, "SaveLatent", samples=[node, 0], filename_prefix="cost")

    measured = dict(node_seconds(server_with_models, graph))
    ratio = {}
    with capsys.disabled():
        print("\nK = 3, finite differences, SD 1.5's width, in steps of euler_ancestral:", end=" ")
        for what, place in (("processor time", 0), ("by the clock", 1)):
            lgs, theirs = ([measured[node][place] for node in nodes[name]] for name in samplers)
            # What else a machine does only ever adds, so the quickest of each are the likest.
            ratio[what] = min(lgs) / min(theirs)
            ratios = sorted(one / other for one, other in zip(lgs, theirs, strict=True))
            print(f"{ratio[what]:.2f} {what} ({ratios[0]:.2f} to {ratios[-1]:.2f} in {PAIRS} pairs)", end="; ")
    assert 3 < ratio["processor time"] < MOST, "below, there were no three products"


def node_seconds(server: ComfyServer, graph: dict) -> Iterator[tuple[str, tuple[float, float]]]:
    """What each node of a graph took: of the processor, to which nothing else on the machine adds, and by the clock."""
    [process] = hosts(str(server.folder))
    started: list[tuple[str | None, float, float]] = []

    def note(run: Run, kind: str) -> None:
        if kind == "executing":
            spent = process.cpu_times()
            started.append((run.executing, spent.user + spent.system, time.perf_counter()))

    assert Client(server.address).run(graph, note, timeout=600).outcome == "execution_success"
    for (node, spent, start), (_, spent_then, end) in zip(started, started[1:], strict=False):
        yield node, (spent_then - spent, end - start)
