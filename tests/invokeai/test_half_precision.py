"""A model in bfloat16, as InvokeAI has it on a GPU: LGS computes in float32 beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from .client import Client
from .conftest import running
from .graphs import Graph, text_to_image
from .server import InvokeServer

AS_ON_A_GPU = Path(__file__).with_name("as_on_a_gpu")


@pytest.fixture(scope="module")
def half(python: str, pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InvokeServer]:
    with running(python, [pack, AS_ON_A_GPU], tmp_path_factory.mktemp("invokeai")) as server:
        yield server


@pytest.fixture(scope="module")
def half_model(half: InvokeServer, folders: dict[str, Path]) -> dict:
    return Client(half.address).install(folders["tiny-sd15"])


@pytest.mark.parametrize(
    "inputs",
    [{}, {"scheduler": "euler_k"}, {"covariance": "lanczos", "jvp": "forward"}, {"covariance": "lanczos"}],
    ids=str,
)
def test_it_differs_from_float32_by_rounding(
    half: InvokeServer, half_model: dict, server: InvokeServer, models: dict, inputs: dict
):
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    whole, rounded = (
        latents(host, text_to_image(model, noise=host.keep("Tensor_the_same", noise), **inputs))
        for host, model in ((server, models["tiny-sd15"]), (half, half_model))
    )
    assert whole.dtype == torch.float32 and rounded.dtype == torch.bfloat16
    assert (rounded.float() - whole).norm() < 0.03 * whole.norm()


def latents(host: InvokeServer, graph: Graph) -> Tensor:
    run = Client(host.address).run(graph.as_json())
    assert run.status == "completed", run.error
    return host.tensor(run.outputs["denoise"]["latents"]["latents_name"])
