"""Tests of the node pack in a real ComfyUI server, headless.

    make build
    COMFYUI_PATH=/path/to/ComfyUI COMFYUI_PYTHON=/path/to/its/python pytest tests/comfyui

COMFYUI_PATH      a ComfyUI checkout; without it these tests are skipped
COMFYUI_PYTHON    the interpreter that has ComfyUI's requirements (default: the one running pytest)
COMFYUI_LGS_PACK  the folder that goes into custom_nodes (default: dist/comfyui-lgs)

    server.py   starts and stops ComfyUI on a loopback port, in a folder of its own
    client.py   what a ComfyUI front end does: posts a graph, follows it over the websocket
    graphs.py   variations of the shipped example graph, and the same mathematics in plain PyTorch
    tiny_models  a second node pack: ComfyUI's own network architectures, tiny, with random weights
"""
