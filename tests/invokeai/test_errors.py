"""What the page says where something is wrong: one sentence or two, and that everything works afterwards."""

from __future__ import annotations

import pytest
import torch

from .client import Client, Rejected
from .graphs import Graph, text_to_image
from .server import InvokeServer


@pytest.fixture
def failed(invoke: Client, models: dict):
    """Runs a graph that is refused; gives what the page says."""

    def failed(graph: Graph) -> str:
        run = invoke.run(graph.as_json())
        assert run.status == "failed"
        return run.error

    yield failed
    assert invoke.run(text_to_image(models["tiny-sd15"], steps=2).as_json()).status == "completed"


@pytest.mark.parametrize(
    "inputs",
    [{"covariance": "lanczos"}, {"covariance": "secant", "denoising_end": 0.5}],
    ids=["products", "a look at the end"],
)
def test_hidiffusion_counts_evaluations(failed, models: dict, inputs: dict):
    said = failed(text_to_image(models["tiny-sd15"], hidiffusion=True, **inputs))
    assert said.startswith("LGS Denoise: expected one model evaluation a step with HiDiffusion, which counts them, got")
    assert "Turn HiDiffusion off" in said and "\n" not in said


def test_a_batch_of_latents(failed, server: InvokeServer, models: dict):
    [place] = {file.parent for file in server.root.glob("outputs/tensors/*/*")}
    torch.save(torch.randn(2, 4, 8, 8), place / "Tensor_of_two")
    said = failed(text_to_image(models["tiny-sd15"], noise={"latents_name": "Tensor_of_two"}))
    assert said == (
        "LGS Denoise: expected latents and noise of one picture, got 2. Make a batch in InvokeAI's way: its queue runs "
        "the workflow once for each picture."
    )


@pytest.mark.parametrize(
    "inputs",
    [{"covariance": "diagonal-learned"}, {"scheduler": "heun"}, {"eta": 1.5}, {"lanczos_steps": 0}, {"s_noise": "x"}],
    ids=str,
)
def test_values_that_there_are_not(invoke: Client, models: dict, inputs: dict):
    with pytest.raises(Rejected) as caught:
        invoke.run(text_to_image(models["tiny-sd15"], **inputs).as_json())
    assert set(caught.value.errors) == set(inputs)
