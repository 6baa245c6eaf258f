"""What InvokeAI samples with, as `lgs` takes it.

pipeline.py    the loop over the steps of its Stable Diffusion pipeline, which ours takes the place of
flux.py        a scheduler for its loop for Flux
"""
