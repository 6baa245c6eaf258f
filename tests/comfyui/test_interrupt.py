"""The stop button: prompt, between steps and inside one, and the server goes on."""

import time

import pytest
import torch

from .client import Client, Run
from .graphs import SAMPLING, with_inputs

PROMPTLY = 3.0
"""Seconds. What is stopped would go on for minutes."""


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param({"steps": 5000, "digits": "0"}, id="many short steps"),
        pytest.param({"steps": 50, "lanczos_steps": 64, "digits": "0123456789" * 6}, id="inside a long step"),
    ],
)
def test_interrupt_stops_promptly_and_the_server_goes_on(comfy: Client, example: dict, inputs: dict):
    before = comfy.run(example)
    stopped_at = []

    def stop(run: Run, _kind: str) -> None:
        if run.executing == SAMPLING and not stopped_at:
            time.sleep(2.0)  # long enough to load the model and be well into sampling
            comfy.interrupt()
            stopped_at.append(time.monotonic())

    run = comfy.run(with_inputs(example, **inputs), stop)
    took = time.monotonic() - stopped_at[0]
    assert run.outcome == "execution_interrupted"
    assert run.details["node_type"] == "SamplerCustomAdvanced"
    assert len(run.steps) < inputs["steps"] / 10
    if inputs["steps"] > 1000:
        assert len(run.steps) > 1
    assert took < PROMPTLY

    after = comfy.run(example)
    assert torch.equal(after.images, before.images)
