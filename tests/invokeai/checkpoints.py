"""Writes tiny models with random weights that InvokeAI takes for what they imitate:

    python checkpoints.py FOLDER

as folders of diffusers; Flux in a file, as InvokeAI has its network.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from graphs import PROMPTS
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

TOKENS = 77

BLOCKS = {"block_out_channels": (32, 64), "layers_per_block": 1, "attention_head_dim": 8, "norm_num_groups": 8}
DOWN = ("DownBlock2D", "CrossAttnDownBlock2D")
UP = ("CrossAttnUpBlock2D", "UpBlock2D")


def main(folder: Path) -> None:
    torch.manual_seed(0)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    )
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8] * 4,
        norm_num_groups=4,
        latent_channels=4,
    )
    words = tokenizer(folder)
    # What tells them apart is how wide the prompt is: 768 and 2048.
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, down_block_types=DOWN, up_block_types=UP, **BLOCKS
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(encoder(768)),
        tokenizer=words,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "tiny-sd15")
    control = ControlNetModel.from_unet(unet)
    for way_out in (
        *control.controlnet_down_blocks,
        control.controlnet_mid_block,
        control.controlnet_cond_embedding.conv_out,
    ):
        torch.nn.init.normal_(way_out.weight, std=0.1)  # untrained ones are 0
    control.save_pretrained(folder / "tiny-controlnet")
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(encoder(768)),
        text_encoder_2=CLIPTextModelWithProjection(encoder(1280)),
        tokenizer=words,
        tokenizer_2=words,
        unet=UNet2DConditionModel(
            sample_size=128,
            cross_attention_dim=2048,
            down_block_types=DOWN,
            up_block_types=UP,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=6 * 256 + 1280,
            use_linear_projection=True,
            **BLOCKS,
        ),
        scheduler=scheduler,
    ).save_pretrained(folder / "tiny-sdxl")


def flux(folder: Path) -> None:
    """Flux dev, and prompts for it: of InvokeAI's own, whose import changes diffusers' ControlNetModel."""
    import tiny_flux
    from invokeai.backend.flux.model import Flux
    from invokeai.backend.model_manager.taxonomy import FluxVariantType
    from invokeai.backend.stable_diffusion.diffusion.conditioning_data import (
        ConditioningFieldData,
        FLUXConditioningInfo,
    )
    from safetensors.torch import save_file

    network = Flux(tiny_flux.PARAMS[FluxVariantType.Dev])
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    save_file(network.state_dict(), folder / "tiny-flux.safetensors")
    for name in PROMPTS:
        prompt = FLUXConditioningInfo(clip_embeds=torch.randn(1, 768), t5_embeds=torch.randn(1, 8, 4096))
        torch.save(ConditioningFieldData([prompt]), folder / f"flux-{name}")


def encoder(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=64,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's with a token for each byte and nothing merged."""
    letters = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in letters]
    units = [*map(chr, letters), *(chr(256 + n) for n in range(len(others)))]
    tokens = [*units, *(f"{unit}</w>" for unit in units), "<|startoftext|>", "<|endoftext|>"]
    place = folder / "tokenizer"
    place.mkdir(parents=True)
    (place / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (place / "merges.txt").write_text("#version: 0.2\n")
    (place / "tokenizer_config.json").write_text(json.dumps({"model_max_length": TOKENS}))
    return CLIPTokenizer.from_pretrained(place)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    flux(Path(sys.argv[1]))
