"""Headless batch runs of ComfyUI: one API-format workflow over many seeds and settings.

    python -m lgs batch workflow.json --out FOLDER --set noise_seed=1..60 --set covariance=lanczos,isotropic

    plan.py      the workflow, the settings, and the jobs that they make; names.py: what their pictures are called
    host.py      a running ComfyUI: queue, history, pictures
    answers.py   what it answers, field by field; untrusted.py: decoded within limits, fit to print
    server.py    a ComfyUI that is started for one batch, and ends with it; guarded.py: so does any server
    store.py     the folder of the results: what is in it is whole, whatever was killed and when; files.py: a file
    table.py     pictures.csv, which grows with it
    run.py       the jobs, one after another, each until its pictures are in the store
    dispatch/    the jobs, handed out to several workers
    cluster/     the jobs, spread over many GPUs by Ray
    pipeline/    jobs of a pipeline of diffusers, without ComfyUI
    overview.py  what there is to look at when a batch ends or is stopped
    sheet.py     the contact sheets; arrangement.py, lettering.py, thumbnail.py: what is where, its words, a picture
    command.py   the command line

Runs in ComfyUI's own environment with nothing installed: aiohttp, Pillow, pydantic and tqdm are what ComfyUI itself
requires, filelock is what PyTorch requires. aiohttp is also what ComfyUI's server is made of. A client has to
choose the id of a prompt itself: without that a job cannot be found again after a crash.
"""
