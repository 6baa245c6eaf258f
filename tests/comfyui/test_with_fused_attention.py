"""PyTorch's fused attention has no forward-mode formula: ``auto`` falls back, ``forward`` says what to do."""

from .client import Client
from .graphs import with_inputs, with_tiny_model
from .server import ComfyServer
from .test_architectures import UNET_AND_FLUX, sampled


@UNET_AND_FLUX
def test_auto_falls_back_and_says_so(server_with_fused_attention: ComfyServer, example: dict, architecture: str):
    server = server_with_fused_attention
    graph = with_tiny_model(example, architecture)
    before = len(server.log_text())
    auto = sampled(server, with_inputs(graph, jvp="auto"))
    assert "finite difference" in server.log_text()[before:]
    assert auto.equal(sampled(server, with_inputs(graph, jvp="finite-difference")))


@UNET_AND_FLUX
def test_forward_says_what_to_do(server_with_fused_attention: ComfyServer, example: dict, architecture: str):
    run = Client(server_with_fused_attention.address).run(
        with_inputs(with_tiny_model(example, architecture), jvp="forward")
    )
    assert run.outcome == "execution_error"
    assert "attention" in run.details["exception_message"]
    assert "auto or finite-difference" in run.details["exception_message"]
