"""LGS Denoise gives the latents of `lgs.sample`, for the same noise and schedule."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from .client import Client, Run
from .graphs import Graph, text_to_image
from .reference import Reference
from .server import InvokeServer

SEED = 7
TOLERANCE = 1e-5
"""Of the largest entry."""


def options(**inputs) -> dict:
    """Those of `lgs.Options` that the node's inputs, and the defaults of the others, stand for."""
    from lgs.node_manifest import options_of, shown_inputs

    defaults = {entry["id"]: entry["default"] for entry in shown_inputs("LGSSampler")}
    return options_of("LGSSampler", defaults | inputs)


@pytest.fixture
def compare(invoke: Client, server: InvokeServer, models: dict, reference: Reference, tmp_path):
    """Runs a graph of text to image, with more in it, and the same by the reference."""

    def compare(model: str = "tiny-sd15", graph: Graph | None = None, host: dict | None = None, **case) -> None:
        host = {"steps": 6, "cfg_scale": 3.0} | (host or {})
        lgs_inputs = case.pop("lgs", {})
        graph = graph or text_to_image(models[model], seed=SEED, **host, **lgs_inputs)
        run = invoke.run(graph.as_json())
        assert run.status == "completed", run.error
        got = server.tensor(run.outputs["denoise"]["latents"]["latents_name"])
        made = {name: str(server.tensor_file(made_by(run, *source))) for name, source in MADE.items()}
        made |= {
            name: str(server.tensor_file(made_by(run, *case[name]))) for name in ("latents", "mask") if name in case
        }
        expected = reference.latents(
            model, tmp_path / "expected", options=options(**lgs_inputs), seed=SEED, **case | host | made
        )
        assert_close(got, expected)

    return compare


MADE = {
    "noise": ("noise", "noise", "latents_name"),
    "positive": ("positive", "conditioning", "conditioning_name"),
    "negative": ("negative", "conditioning", "conditioning_name"),
}


def made_by(run: Run, node: str, output: str, name: str) -> str:
    return run.outputs[node][output][name]


def assert_close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape and expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=0, atol=TOLERANCE * expected.abs().max().item())


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"eta": 0.5, "s_noise": 0.9},
        {"covariance": "lanczos", "lanczos_steps": 2, "eta": 0.5},
        {"covariance": "lanczos", "jvp": "forward"},
        {"covariance": "isotropic", "eta": 1.0, "other_steps": "isotropic"},
        {"covariance": "diagonal", "probes": 2, "jvp": "finite-difference"},
        {"covariance": "spectral", "jvp": "central-difference"},
    ],
    ids=str,
)
def test_every_mode(compare, inputs: dict):
    compare(lgs=inputs)
