"""A NOISE of a node pack's own: what SamplerCustomAdvanced starts from is an object, with a seed or without."""

import torch


class Waves:
    """White along one axis of the picture, the same along the other."""

    def __init__(self, seed):
        self.seed = seed

    def generate_noise(self, latent):
        shape = latent["samples"].shape
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn((*shape[:-1], 1), generator=generator).expand(shape).clone()


class NoiseOfWaves:
    RETURN_TYPES = ("NOISE",)
    FUNCTION = "noise"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0, "max": 2**32})}}

    def noise(self, seed):
        return (Waves(seed),)
