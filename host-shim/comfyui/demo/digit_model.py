"""The bundled digit model as ComfyUI's MODEL."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from comfy.latent_formats import LatentFormat
from comfy.model_base import BaseModel, ModelType
from comfy.model_management import get_torch_device, unet_offload_device
from comfy.model_patcher import ModelPatcher
from comfy.supported_models_base import BASE

from ..lgs.digits import SIGMA_DATA, SIGMA_MAX, SIGMA_MIN, DigitUNet, load_unet

WEIGHTS = Path(__file__).absolute().parents[1] / "models" / "digits.safetensors"


class DigitPixels(LatentFormat):
    """The "latents" are grey pixels: black -1, white +1."""

    latent_channels = 1
    spacial_downscale_ratio = 1
    latent_rgb_factors = [[1.0, 1.0, 1.0]]  # so that the live preview is the picture itself


class DigitConfig(BASE):
    """What ComfyUI asks of the configuration of a model that it loads."""

    unet_config = {"in_channels": 1, "out_channels": 1}
    unet_extra_config = {}
    sampling_settings = {"sigma_min": SIGMA_MIN, "sigma_max": SIGMA_MAX, "sigma_data": SIGMA_DATA}
    latent_format = DigitPixels
    supported_inference_dtypes = [torch.float32]
    memory_usage_factor = 0.1  # about 4 MB for each picture of 32 x 32

    def model_type(self, state_dict: dict, prefix: str = "") -> ModelType:
        return ModelType.EDM


def _trained_unet(**_host) -> DigitUNet:
    """ComfyUI's constructor of a network: it offers a device, a dtype and layers, none of which we need."""
    unet = load_unet(WEIGHTS)
    unet.dtype = torch.float32  # BaseModel asks the network for it
    return unet


@functools.cache
def digit_model() -> ModelPatcher:
    """The loaded model, one for the whole process: nodes that change a model change a clone.

    ComfyUI puts EDM's preconditioning around the network, the same as `lgs.digits.Digits`.
    """
    config = DigitConfig(DigitConfig.unet_config)
    config.set_inference_dtype(torch.float32, None)
    offload_device = unet_offload_device()
    model = BaseModel(config, model_type=ModelType.EDM, unet_model=_trained_unet).to(offload_device)
    return ModelPatcher(model, load_device=get_torch_device(), offload_device=offload_device)
