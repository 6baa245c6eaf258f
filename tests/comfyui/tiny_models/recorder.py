"""A SAMPLER that writes down what it is given, and the noise of models whose noise is not of size 1."""

import copy
import os

import folder_paths
import torch
from comfy.k_diffusion.sampling import sample_euler
from comfy.samplers import KSAMPLER
from safetensors.torch import save_file


def sample_and_record(model, x, sigmas, extra_args=None, callback=None, disable=None, *, name):
    given = {"x": x, "sigmas": sigmas, "noise": model.noise, "latent": model.latent_image}
    mask = extra_args.get("denoise_mask")
    if mask is not None:
        given["mask"] = mask.expand_as(x)
    file = os.path.join(folder_paths.get_output_directory(), f"{name}.recorded")
    save_file({key: value.detach().cpu().float().contiguous().clone() for key, value in given.items()}, file)
    return sample_euler(model, x, sigmas, extra_args=extra_args, callback=callback, disable=disable)


class Recorder:
    """Euler's method."""

    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {"default": "given"})}}

    def make(self, name):
        return (KSAMPLER(sample_and_record, extra_options={"name": name}),)


class NoiseScale:
    """As HiDream-O1 has it."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "scale": ("FLOAT", {"default": 2.0})}}

    def patch(self, model, scale):
        model = model.clone()
        sampling = copy.deepcopy(model.get_model_object("model_sampling"))
        sampling.noise_scale = scale
        # Older versions do not read it.
        sampling.noise_scaling = lambda sigma, noise, latent, most=False: sigma * (scale * noise) + (1 - sigma) * latent
        model.add_object_patch("model_sampling", sampling)
        return (model,)


class Ones:
    """A latent of two items that is 1 everywhere."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"channels": ("INT", {"default": 4})}}

    def make(self, channels):
        return ({"samples": torch.ones(2, channels, 8, 8)},)
