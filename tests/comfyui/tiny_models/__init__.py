"""A node pack for the tests: ComfyUI's own network architectures, tiny, with random weights, and patches.

So that the sampler is run through the attention, rotary embeddings and layers of real hosts, which
the bundled digit model has none of. The pictures mean nothing.
"""

import logging

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.supported_models_base
import torch

from .conditioning import RandomConditioning
from .noise import NoiseOfWaves
from .offload import Offload
from .recorder import NoiseScale, Ones, Recorder

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "num_heads": 2,
    "use_spatial_transformer": True,
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 16,
}

FLUX = {
    "in_channels": 4,
    "out_channels": 4,
    "vec_in_dim": 16,
    "context_in_dim": 16,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": False,
    "txt_ids_dims": [],
}


class Config(comfy.supported_models_base.BASE):
    unet_extra_config = {}
    latent_format = comfy.latent_formats.SD15


def tiny_model(architecture: str, dtype: torch.dtype) -> comfy.model_patcher.ModelPatcher:
    config = Config(FLUX if architecture == "flux" else UNET)
    config.set_inference_dtype(dtype, None)
    if architecture == "flux":
        import comfy.ldm.flux.model as flux

        known = flux.FluxParams.__dataclass_fields__  # txt_ids_dims is newer than 0.3.64
        config.unet_config = {name: value for name, value in config.unet_config.items() if name in (*known, "dtype")}
        model = comfy.model_base.Flux(config)
    else:
        model = comfy.model_base.BaseModel(config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.diffusion_model.named_parameters():
        if weight.ndim > 1:
            weight.copy_(torch.randn(weight.shape, generator=generator) * weight[0].numel() ** -0.5)
        else:  # norms' weights and scales 1, biases small
            scale = name.endswith(("scale", "weight"))
            weight.copy_(torch.ones(weight.shape) if scale else torch.randn(weight.shape, generator=generator) * 0.1)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, device, comfy.model_management.unet_offload_device())


class TinyModel:
    RETURN_TYPES = ("MODEL", "CONDITIONING", "LATENT")
    FUNCTION = "load"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"architecture": (["unet", "flux"],), "dtype": (["float32", "bfloat16", "float16"],)}}

    def load(self, architecture, dtype):
        generator = torch.Generator().manual_seed(1)
        context = torch.randn(1, 5, 16, generator=generator)
        pooled = torch.randn(1, 16, generator=generator)
        model = tiny_model(architecture, getattr(torch, dtype))
        return model, [[context, {"pooled_output": pooled}]], {"samples": torch.zeros(2, 4, 8, 8)}


class NoForwardMode(torch.autograd.Function):
    """An operation as extensions have them: a derivative for training, none in forward mode."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def another_kernel(func, q, k, v, *args, **kwargs):
    """As SageAttention: it gives what ComfyUI's gives, without a tangent, and without a word about that."""
    logging.info("another kernel was called")
    return func(q.detach(), k.detach(), v.detach(), *args, **kwargs)


def sharp_attention(func, q, *args, **kwargs):
    """No mere kernel: it gives something else."""
    return func(3 * q, *args, **kwargs)


class PatchModel:
    """What other node packs do to a model."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"model": ("MODEL",), "patch": (["another kernel", "another attention", "no forward mode"],)}
        }

    def patch(self, model, patch):
        model = model.clone()
        if patch == "no forward mode":
            model.set_model_unet_function_wrapper(
                lambda apply, call: NoForwardMode.apply(apply(call["input"], call["timestep"], **call["c"]))
            )
        else:
            attention = another_kernel if patch == "another kernel" else sharp_attention
            model.model_options["transformer_options"]["optimized_attention_override"] = attention
        return (model,)


NODE_CLASS_MAPPINGS = {
    "LGSTestTinyModel": TinyModel,
    "LGSTestPatchModel": PatchModel,
    "LGSTestConditioning": RandomConditioning,
    "LGSTestNoise": NoiseOfWaves,
    "LGSTestOffload": Offload,
    "LGSTestRecorder": Recorder,
    "LGSTestNoiseScale": NoiseScale,
    "LGSTestOnes": Ones,
}
