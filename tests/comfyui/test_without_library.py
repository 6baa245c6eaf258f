"""Without the native library ComfyUI starts, lists the nodes, and running one says why and what to do."""

from .client import Client
from .graphs import SAMPLER, assert_read, with_node


def test_nodes_are_listed(comfy_without_library: Client):
    info = comfy_without_library.get_json("/object_info")
    assert {"LGSSampler", "LGSDemoModel"} <= set(info)
    assert len(info) > 100, "ComfyUI's own nodes"


def test_running_the_sampler_says_why_and_what_to_do(comfy_without_library: Client, example: dict):
    run = comfy_without_library.run(example)
    assert run.outcome == "execution_error"
    message = run.details["exception_message"]
    assert "liblgs" in message and "found no such file" in message, message
    assert "Unpack the whole plugin folder again" in message and "make build" in message, message


def test_everything_else_works(comfy_without_library: Client, example: dict):
    """The bundled model with a sampler of ComfyUI's own."""
    run = comfy_without_library.run(with_node(example, SAMPLER, "KSamplerSelect", sampler_name="heun"))
    assert_read(run.images, "0123456789")
