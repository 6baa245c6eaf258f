"""The example workflows of the ComfyUI pack, and the program that writes their files. Not shipped.

    COMFYUI_PATH=... COMFYUI_PYTHON=... PYTHONPATH=host-shim/tools .venv/bin/python -m example_workflows

writes ``host-shim/comfyui/example_workflows/``: of each workflow the editor's format, the API format in ``api/``, and a
thumbnail, which is what the very graph draws with the bundled digit model in place of the checkpoint; one of these
is the pack's icon as well. Run it after a new input of LGS Sampler, with the oldest ComfyUI that is supported, so that
no workflow has an input which that one does not know. The graph of ``lgs_demo_digits`` was laid out by hand; only its
thumbnail is made here.

    declared.py        the graphs, declared once, and the notes beside them
    editor_format.py   the editor's format from the API's, and back
    thumbnails.py      their pictures
    server.py          a ComfyUI with the pack, in a folder of its own
"""
