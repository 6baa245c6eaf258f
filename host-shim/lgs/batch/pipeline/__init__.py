"""Batches of a pipeline of diffusers with `lgs.diffusers.LGSScheduler`, without ComfyUI.

    {"pipeline": {"folder": "sdxl", "dtype": "float16"},
     "call": {"prompt": "a lighthouse", "num_inference_steps": 12, "seed": 1},
     "options": {"eta": 0.0}}

in the place of a workflow: `lgs batch pipeline.json --out FOLDER --set seed=1..60 --set options.eta=0,0.5`.

    description.py  such a file, as a graph of three nodes: so it has the settings, the names and the ids of workflows
    worker.py       a pipeline that makes pictures, here or as an actor of `lgs.batch.cluster`
    local.py        in this process, without Ray
"""
