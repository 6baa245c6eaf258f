"""What ComfyUI has loaded, as `lgs` takes it.

guided_model.py             the guided model as a denoiser, its noise, and the options that it decides
forward_process.py          which forward process the model was trained for
started_sampler.py          a SAMPLER that begins with what a start knows
digests.py                  what tells one model from another, and one prompt
differentiable_kernels.py   derivatives where ComfyUI's kernels have none
"""
