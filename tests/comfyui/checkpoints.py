"""Files of models with random weights, which ComfyUI's own loaders recognise.

    python checkpoints.py FOLDER

is run by ComfyUI's interpreter, in its checkout: the names and shapes of the weights are those of the
host's own classes. FOLDER gets what is in ComfyUI's ``models``: ``checkpoints``, ``diffusion_models``,
``loras``, ``controlnet`` and ``vae``.

A loader knows a model by its widths, so these are the smallest that it takes for the real one: 320
channels for Stable Diffusion's kinds, but fewer levels and blocks; 64 for SD3, 128 for Flux and Wan. The
files are small all the same, because large weights are overlapping windows of few numbers, and
PyTorch's format keeps it so: CLIP, whose 123 million numbers no loader takes fewer of, is under 10 MB.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, os.getcwd())

import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True  # the host asks for its GPU when it is imported

import comfy.ops  # noqa: E402
from comfy.cldm.cldm import ControlNet  # noqa: E402
from comfy.ldm.flux.model import Flux, FluxParams  # noqa: E402
from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT  # noqa: E402
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel  # noqa: E402
from comfy.ldm.wan.model import WanModel  # noqa: E402
from comfy.sd1_clip import SD1ClipModel  # noqa: E402
from comfy.taesd.taesd import TAESD  # noqa: E402

Weights = dict[str, Tensor]

NUMBERS = 2**15
"""The random numbers that a weight is made of, unless it needs more for its rows to differ."""

LAYERS = {"device": "meta", "operations": comfy.ops.disable_weight_init}
"""What the host's networks are built with here: shapes alone."""

UNET = "model.diffusion_model."
"""What a checkpoint puts before the names of its diffusion model's weights."""

STABLE_DIFFUSION = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "use_spatial_transformer": True,
    "legacy": False,
}

SD15 = STABLE_DIFFUSION | {
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "num_heads": 8,
    "transformer_depth": [1, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 0, 0],
    "context_dim": 768,
}

SD21 = STABLE_DIFFUSION | {
    "num_res_blocks": [2, 2, 2, 2],  # its prediction type is told from a weight of the twelfth output block
    "channel_mult": [1, 1, 1, 1],
    "num_head_channels": 64,
    "transformer_depth": [1, 0, 0, 0, 0, 0, 0, 0],
    "transformer_depth_middle": -2,
    "transformer_depth_output": [1] + [0] * 11,
    "use_linear_in_transformer": True,
    "context_dim": 1024,
}

SDXL = STABLE_DIFFUSION | {
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 1, 1],
    "num_head_channels": 64,
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": -2,
    "transformer_depth_output": [0] * 9,
    "use_linear_in_transformer": True,
    "context_dim": 2048,
}

SEGMIND_VEGA = SDXL | {"transformer_depth": [0, 0, 1, 1, 2, 2]}
"""The smallest of SDXL's descendants."""

SD3 = {
    "in_channels": 16,
    "depth": 1,  # the width is 64 times the depth
    "patch_size": 2,
    "input_size": None,
    "adm_in_channels": 2048,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64}},
    "num_patches": 256,
    "pos_embed_max_size": 16,
}

WAN21 = {"dim": 128, "ffn_dim": 256, "num_heads": 1, "num_layers": 1}

FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}


def weights_of(make: Callable[..., torch.nn.Module], prefix: str = "", **config) -> Weights:
    """Random weights for a module of the host's, by name."""
    shapes = make(**config).state_dict()
    return {prefix + name: random_weight(name, value.shape) for name, value in shapes.items()}


def random_weight(name: str, shape: torch.Size) -> Tensor:
    """Of variance 1 / fan-in; 1 for the scales of norms, small for biases. Always the same for a name and a shape."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if len(shape) < 2:
        is_scale = name.endswith(("scale", "weight", "gamma"))
        return (torch.ones(shape) if is_scale else 0.1 * torch.randn(shape, generator=generator)).half()
    rows, fan_in = shape[0], shape[1:].numel()
    step = min(max(1, (NUMBERS - fan_in) // rows), fan_in)
    numbers = torch.randn((rows - 1) * step + fan_in, generator=generator) * fan_in**-0.5
    return numbers.half().as_strided((rows, fan_in), (step, 1)).unflatten(1, shape[1:])


def unet(config: dict) -> Weights:
    return weights_of(UNetModel, UNET, **config, **LAYERS)


def clip_l() -> Weights:
    """As Stable Diffusion 1.x names them; it has none of what CLIP compares pictures and texts with."""
    weights = weights_of(SD1ClipModel, device="meta")
    kept = {name: value for name, value in weights.items() if not name.endswith(("logit_scale", "projection.weight"))}
    return {name.replace("clip_l.", "cond_stage_model.", 1): value for name, value in kept.items()}


def vae(channels: int, prefix: str = "first_stage_model.") -> Weights:
    """The tiny autoencoder, TAESD, for latents of so many channels."""
    return weights_of(TAESD, prefix, latent_channels=channels)


def lora(of: Weights, rank: int = 4) -> Weights:
    """For every weight of CLIP's and the UNet's attention and residual blocks."""
    adapters = {}
    for name, weight in of.items():
        if not name.endswith(("_proj.weight", "to_q.weight", "to_v.weight", "layers.2.weight", "layers.3.weight")):
            continue
        if not name.startswith((UNET, "cond_stage_model.")):
            continue
        layer = name.removesuffix(".weight").replace(UNET, "lora_unet_")
        layer = layer.replace("cond_stage_model.transformer.", "lora_te_").replace(".", "_")
        shape = weight.shape
        adapters[f"{layer}.lora_down.weight"] = random_weight(f"{layer}.down", torch.Size((rank, *shape[1:])))
        up = random_weight(f"{layer}.up", torch.Size((shape[0], rank, *(1 for _ in shape[2:]))))
        adapters[f"{layer}.lora_up.weight"] = up
        adapters[f"{layer}.alpha"] = torch.tensor(float(rank))
    return adapters


def controlnet() -> Weights:
    config = {name: value for name, value in SD15.items() if name != "out_channels"}
    return weights_of(ControlNet, **config, hint_channels=3, **LAYERS)


def write(folder: Path) -> None:
    """All the files, under the names that the tests ask for."""
    files = {
        "checkpoints/sd15": (sd15 := unet(SD15) | clip_l() | vae(4)),
        "checkpoints/sd21": unet(SD21) | vae(4),
        "checkpoints/sdxl": unet(SDXL) | vae(4),
        # As Playground v2.5 says so, in the checkpoint, of a network of SDXL's kind.
        "checkpoints/edm": unet(SEGMIND_VEGA) | vae(4) | {"edm_mean": torch.zeros(4), "edm_std": torch.ones(4)},
        "checkpoints/sd3": (sd3 := weights_of(MMDiT, UNET, **SD3, **LAYERS)) | vae(16),
        "diffusion_models/sd15": {name: value for name, value in sd15.items() if name.startswith(UNET)},
        "diffusion_models/sd3": sd3,
        "diffusion_models/wan21": weights_of(WanModel, **WAN21, **LAYERS),
        "loras/sd15": lora(sd15),
        "controlnet/sd15": controlnet(),
        "vae/sd15": vae(4, ""),
    }
    if "txt_ids_dims" in FluxParams.__dataclass_fields__:  # before, every Flux was taken for 3072 channels wide
        files["diffusion_models/flux"] = weights_of(Flux, **FLUX, **LAYERS)
    for name, weights in files.items():
        path = (folder / name).with_suffix(".ckpt")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(weights, path)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
