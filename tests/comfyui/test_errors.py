"""Wrong values and models that the sampler does not describe: an error that names what is wrong."""

import pytest

from .client import Client, Rejected
from .graphs import GUIDER, MODEL, with_inputs, with_node

OUT_OF_RANGE = [
    ("lanczos_steps", 0),
    ("lanczos_steps", -1),
    ("lanczos_steps", 65),
    ("eta", -0.1),
    ("eta", 1.5),
    ("s_noise", -1.0),
    ("tolerance", 2.0),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_typed_value_out_of_range(comfy: Client, example: dict, name: str, value: float):
    with pytest.raises(Rejected) as refused:
        comfy.run(with_inputs(example, **{name: value}))
    assert name in refused.value.errors


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_wired_value_out_of_range(comfy: Client, example: dict, name: str, value: float):
    """ComfyUI checks what is typed into a node, not what another node gives it."""
    source = "PrimitiveInt" if isinstance(value, int) else "PrimitiveFloat"
    run = comfy.run(with_inputs(with_node(example, "20", source, value=value), **{name: ["20", 0]}))
    assert run.outcome == "execution_error"
    assert run.details["node_type"] == "LGSSampler"
    assert name in run.details["exception_message"]
    assert str(value) in run.details["exception_message"]


@pytest.mark.parametrize("name", ["covariance", "jvp"])
def test_unknown_choice(comfy: Client, example: dict, name: str):
    """Refused by the server where it checks the choices of V3 nodes, else by the node."""
    try:
        run = comfy.run(with_inputs(example, **{name: "nonesuch"}))
    except Rejected as refused:
        message = refused.errors[name]
    else:
        assert run.details["node_type"] == "LGSSampler"
        message = run.details["exception_message"]
        assert name in message
    assert "nonesuch" in message


def test_more_lanczos_steps_than_dimensions_cannot_be_typed(comfy: Client, example: dict):
    with pytest.raises(Rejected):
        comfy.run(with_inputs(example, lanczos_steps=32 * 32 + 1))


def test_model_that_is_no_diffusion_model(comfy: Client, example: dict):
    graph = with_node(example, "20", "ModelSamplingDiscrete", model=[MODEL, 0], sampling="img_to_img", zsnr=False)
    graph[GUIDER]["inputs"]["model"] = ["20", 0]
    run = comfy.run(graph)
    assert run.outcome == "execution_error"
    assert "LGS Sampler cannot sample this model" in run.details["exception_message"]
    assert "IMG_TO_IMG" in run.details["exception_message"]


def test_server_goes_on_after_an_error(comfy: Client, example: dict):
    graph = with_node(example, "20", "PrimitiveInt", value=1000)
    assert comfy.run(with_inputs(graph, lanczos_steps=["20", 0])).outcome == "execution_error"
    assert comfy.run(example).outcome == "execution_success"
