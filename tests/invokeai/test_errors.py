"""What the page says where something is wrong: one sentence or two, and that everything works afterwards."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from .client import Client, Rejected
from .graphs import Graph, text_to_image
from .server import InvokeServer, environment_of_its_own


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
    "inputs, got, remedy",
    [
        ({"covariance": "lanczos"}, "lanczos, which has several", "choose the mode secant or isotropic."),
        ({"denoising_end": 0.5}, "secant with a denoising end of 0.5", "set the denoising end to 1"),
    ],
    ids=["products", "a look at the end"],
)
def test_hidiffusion_counts_evaluations(failed, models: dict, inputs: dict, got: str, remedy: str):
    said = failed(text_to_image(models["tiny-sd15"], hidiffusion=True, **inputs))
    assert said.startswith("LGS Denoise: expected one model evaluation a step with HiDiffusion, which counts them, got")
    assert f"got the mode {got}" in said and "Turn HiDiffusion off" in said and remedy in said and "\n" not in said


def test_a_batch_of_latents(failed, server: InvokeServer, models: dict):
    noise = server.keep("Tensor_of_two", torch.randn(2, 4, 8, 8))
    said = failed(text_to_image(models["tiny-sd15"], noise=noise))
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


MODULAR = """
import os, sys
from invokeai.app.invocations.load_custom_nodes import load_custom_nodes
from invokeai.backend.util.logging import InvokeAILogger
from pathlib import Path
load_custom_nodes(Path(sys.argv[1]), InvokeAILogger.get_logger())
pack = sys.modules["invokeai-lgs"]
os.environ["USE_MODULAR_DENOISE"] = "1"
try:
    pack.LGSDenoise().invoke(None)
except pack.lgs.Error as error:
    print(error)
"""


def test_modular_denoising(python: str, pack: Path, tmp_path: Path):
    """InvokeAI's other loop, which is asked for by a variable of the environment and knows nothing of ours."""
    shutil.copytree(pack, tmp_path / pack.name)
    command = [python, "-c", MODULAR, str(tmp_path)]
    done = subprocess.run(command, env=environment_of_its_own(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == (
        "LGS Denoise: expected InvokeAI's standard denoising, got its modular one, which the environment variable "
        "USE_MODULAR_DENOISE asks for. Start InvokeAI without that variable."
    )
