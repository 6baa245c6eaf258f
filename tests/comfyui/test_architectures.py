"""LGS Sampler through ComfyUI's own layers and attention: tiny networks with random weights.

Their samples mean nothing, but every way to the Jacobian must give the same ones.
"""

import pytest
from torch import Tensor

from .client import Client
from .graphs import saved_latent, with_inputs, with_tiny_model
from .server import ComfyServer

UNET_AND_FLUX = pytest.mark.parametrize("architecture", ["unet", "flux"])
"""Variance exploding, as SD 1.5 and SDXL; and flow, with rotary embeddings."""


def sampled(server: ComfyServer, graph: dict) -> Tensor:
    run = Client(server.address).run(graph)
    assert run.outcome == "execution_success", run.details
    assert len(run.steps) == 4
    latent = saved_latent(server)
    assert latent.isfinite().all()
    return latent


def distance(a: Tensor, b: Tensor) -> float:
    """Relative to b."""
    return float((a - b).norm() / b.norm())


@UNET_AND_FLUX
def test_forward_mode_is_the_finite_difference(server: ComfyServer, example: dict, architecture: str):
    graph = with_tiny_model(example, architecture)
    forward = sampled(server, with_inputs(graph, jvp="forward"))
    assert distance(sampled(server, with_inputs(graph, jvp="finite-difference")), forward) < 0.01
    assert distance(sampled(server, with_inputs(graph, covariance="isotropic")), forward) > 0.2


@UNET_AND_FLUX
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("jvp", ["forward", "finite-difference"])
def test_model_that_computes_in_half_precision(
    server: ComfyServer, example: dict, architecture: str, dtype: str, jvp: str
):
    """As most models do on a GPU. ComfyUI's x and denoised are float32 all the same: the node has to
    say what the model computes in, for a finite difference to reach beyond its rounding."""
    exact = sampled(server, with_inputs(with_tiny_model(example, architecture), jvp="forward"))
    isotropic = sampled(server, with_inputs(with_tiny_model(example, architecture), covariance="isotropic"))
    half = sampled(server, with_inputs(with_tiny_model(example, architecture, dtype), jvp=jvp))
    assert distance(half, exact) < 0.5 * distance(isotropic, exact)


@UNET_AND_FLUX
def test_auto_is_either_of_them(server: ComfyServer, example: dict, architecture: str):
    graph = with_tiny_model(example, architecture)
    auto = sampled(server, with_inputs(graph, jvp="auto"))
    assert distance(auto, sampled(server, with_inputs(graph, jvp="forward"))) < 0.01


@UNET_AND_FLUX
@pytest.mark.parametrize("jvp", ["finite-difference", "central-difference"])
def test_a_doubled_batch_gives_the_same(server: ComfyServer, example: dict, architecture: str, jvp: str):
    """ComfyUI's guider gives each of the items its conditioning, whatever multiple of them there is."""
    graph = with_inputs(with_tiny_model(example, architecture), jvp=jvp)
    before = len(server.log_text())
    doubled = sampled(server, with_inputs(graph, doubled_batch="always"))
    assert "does not take a batch" not in server.log_text()[before:]
    assert distance(doubled, sampled(server, with_inputs(graph, doubled_batch="never"))) < 0.01
