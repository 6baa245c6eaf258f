"""Forward mode where attention is PyTorch's fused kernel, or another node's, and where an operation has none."""

import pytest

from .client import Client
from .graphs import GUIDER, MODEL, with_inputs, with_node, with_tiny_model
from .server import ComfyServer
from .test_architectures import UNET_AND_FLUX, distance, sampled


@pytest.fixture
def server(server_with_fused_attention: ComfyServer) -> ComfyServer:
    return server_with_fused_attention


def patched(graph: dict, patch: str) -> dict:
    """The graph with the model patched as other nodes do."""
    graph = with_node(graph, "20", "LGSTestPatchModel", model=[MODEL, 0], patch=patch)
    graph[GUIDER]["inputs"]["model"] = ["20", 0]
    return graph


def assert_forward_mode_is_the_finite_difference(server: ComfyServer, graph: dict):
    forward = sampled(server, with_inputs(graph, jvp="forward"))
    assert distance(sampled(server, with_inputs(graph, jvp="finite-difference")), forward) < 0.01
    assert distance(sampled(server, with_inputs(graph, covariance="isotropic")), forward) > 0.2


def assert_forward_mode_says_what_to_do(server: ComfyServer, graph: dict, why: str):
    run = Client(server.address).run(with_inputs(graph, jvp="forward"))
    assert run.outcome == "execution_error"
    assert why in run.details["exception_message"]
    assert "auto or finite-difference" in run.details["exception_message"]


def assert_auto_falls_back_and_says_so(server: ComfyServer, graph: dict):
    before = len(server.log_text())
    # Whether auto doubles the batch goes by time, and a doubled batch rounds differently.
    auto = sampled(server, with_inputs(graph, jvp="auto", doubled_batch="never"))
    assert "finite difference" in server.log_text()[before:]
    assert auto.equal(sampled(server, with_inputs(graph, jvp="finite-difference", doubled_batch="never")))


@UNET_AND_FLUX
def test_fused_attention(server: ComfyServer, example: dict, architecture: str):
    assert_forward_mode_is_the_finite_difference(server, with_tiny_model(example, architecture))


@UNET_AND_FLUX
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_fused_attention_in_half_precision(server: ComfyServer, example: dict, architecture: str, dtype: str):
    exact = sampled(server, with_inputs(with_tiny_model(example, architecture), jvp="forward"))
    isotropic = sampled(server, with_inputs(with_tiny_model(example, architecture), covariance="isotropic"))
    half = sampled(server, with_inputs(with_tiny_model(example, architecture, dtype), jvp="forward"))
    assert distance(half, exact) < 0.5 * distance(isotropic, exact)


@UNET_AND_FLUX
def test_another_nodes_attention(server: ComfyServer, example: dict, architecture: str):
    """Its kernel is called, and the derivative is not its own."""
    graph = patched(with_tiny_model(example, architecture), "another kernel")
    before = len(server.log_text())
    assert_forward_mode_is_the_finite_difference(server, graph)
    assert "another kernel was called" in server.log_text()[before:]


def test_another_nodes_attention_that_is_no_attention(server: ComfyServer, example: dict):
    """A derivative of something else would be silently wrong."""
    graph = patched(with_tiny_model(example, "unet"), "another attention")
    assert_forward_mode_says_what_to_do(server, graph, "sharp_attention")
    assert_auto_falls_back_and_says_so(server, graph)


@UNET_AND_FLUX
def test_an_operation_without_a_derivative(server: ComfyServer, example: dict, architecture: str):
    graph = patched(with_tiny_model(example, architecture), "no forward mode")
    assert_forward_mode_says_what_to_do(server, graph, "autograd.Function")
    assert_auto_falls_back_and_says_so(server, graph)
