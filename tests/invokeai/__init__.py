"""Tests of the node pack in the real InvokeAI, headless, through its API.

    make build
    INVOKEAI_PYTHON=/path/to/its/python pytest tests/invokeai

INVOKEAI_PYTHON  the interpreter of an environment with InvokeAI; without it these tests are skipped

    server.py       starts and stops InvokeAI on a loopback port, in a root of its own, with the assembled folder
    client.py       what InvokeAI's page does: queues a graph, follows it over the socket, cancels it
    graphs.py       text to image and its variations, as graphs
    checkpoints.py  tiny models with random weights; run by InvokeAI's interpreter
    reference.py    the same latents by `lgs.sample` and diffusers' networks alone; run by that interpreter, too
"""
