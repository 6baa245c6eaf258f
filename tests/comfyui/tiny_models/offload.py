"""A model that does not fit onto the device, which no option of ComfyUI makes of one on the CPU."""

from comfy.model_patcher import ModelPatcher

BUDGET = 2**20
"""Bytes of weights that are loaded; all others are fetched, and patched, whenever they are used."""


class PartlyLoaded(ModelPatcher):
    def partially_load(self, device_to, extra_memory=0, **options):
        return super().partially_load(device_to, BUDGET, **options)


class Offload:
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "offload"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def offload(self, model):
        model = model.clone()
        model.__class__ = PartlyLoaded
        return (model,)
