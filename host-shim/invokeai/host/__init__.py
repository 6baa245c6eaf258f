"""What InvokeAI samples with, as `lgs` takes it.

trajectory.py    the loop over the steps of its Stable Diffusion pipeline
"""
