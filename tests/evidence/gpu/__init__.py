"""The whole product on a GPU: is it right there, where does it run, when does it wait, what does it cost.

    PYTHONPATH=tests:dist/comfyui-lgs python -m evidence.gpu --out out/gpu

Needs PyTorch of the release that there is an engine for and the assembled drop-in folder; nothing else.

    correctness.py  both kinds of Jacobian-vector product, reverse_noise, trajectories, against the CPU
    placement.py    stream, device, waits for the device, memory
    timings.py      one step and a trajectory in units of bare evaluations
    unet.py         networks of Stable Diffusion 1.5's and SDXL's size, with random weights
    denoisers.py    the models that the checks sample from
    trace.py        what the profiler saw of the device
    record.py       figures, bounds, and the file they are saved in
"""
