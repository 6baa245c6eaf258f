"""Random conditioning, for models whose text encoders are too large for a test."""

import torch


class RandomConditioning:
    """``tokens`` vectors of ``width`` numbers, and a pooled one."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "draw"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        count = ("INT", {"default": 1, "max": 2**16})
        return {"required": {"tokens": count, "width": count, "pooled": count, "seed": count}}

    def draw(self, tokens, width, pooled, seed):
        generator = torch.Generator().manual_seed(seed)
        context = torch.randn(1, tokens, width, generator=generator)
        return ([[context, {"pooled_output": torch.randn(1, pooled, generator=generator)}]],)
