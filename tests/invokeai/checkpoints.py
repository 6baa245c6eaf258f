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
    T2IAdapter,
    UNet2DConditionModel,
)
from graphs import PROMPTS
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

TOKENS = 77

BLOCKS = {"block_out_channels": (32, 64), "layers_per_block": 1, "attention_head_dim": 8, "norm_num_groups": 8}
DOWN = ("DownBlock2D", "CrossAttnDownBlock2D")
UP = ("CrossAttnUpBlock2D", "UpBlock2D")
# InvokeAI takes it for granted that Stable Diffusion 1.5 has four levels, where it fits a T2I-Adapter.
FOUR = {
    "block_out_channels": (32, 32, 64, 64),
    "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
}


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
    # InvokeAI encodes a picture by a draw without a seed: a narrow one, so that two runs are alike.
    torch.nn.init.constant_(vae.quant_conv.bias[4:], -30)
    torch.nn.init.zeros_(vae.quant_conv.weight[4:])
    words = tokenizer(folder)
    # What tells them apart is how wide the prompt is: 768 and 2048.
    for name, channels in (("tiny-inpainting", 9), ("tiny-sd15", 4)):
        unet = UNet2DConditionModel(sample_size=64, in_channels=channels, cross_attention_dim=768, **BLOCKS | FOUR)
        StableDiffusionPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(encoder(768)),
            tokenizer=words,
            unet=unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder / name)
    control = ControlNetModel.from_unet(unet)
    for way_out in (
        *control.controlnet_down_blocks,
        control.controlnet_mid_block,
        control.controlnet_cond_embedding.conv_out,
    ):
        torch.nn.init.normal_(way_out.weight, std=0.1)  # untrained ones are 0
    control.save_pretrained(folder / "tiny-controlnet")
    adapters(unet, folder)
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


def adapters(unet: UNet2DConditionModel, folder: Path) -> None:
    """What changes Stable Diffusion 1.5 by a LoRA, a T2I-Adapter and an IP-Adapter, with that one's image encoder."""
    crossed = [(name, layer) for name, layer in unet.named_modules() if name.endswith(("attn2.to_k", "attn2.to_v"))]
    lora = {}
    for name, layer in crossed:
        place = "lora_unet_" + name.replace(".", "_")
        lora[f"{place}.lora_down.weight"] = torch.randn(4, layer.in_features) / 4
        lora[f"{place}.lora_up.weight"] = torch.randn(layer.out_features, 4) / 4
    save_file(lora, folder / "tiny-lora.safetensors")

    adapter = T2IAdapter(in_channels=3, channels=[32, 32, 64, 64], num_res_blocks=1, downscale_factor=8)
    adapter.save_pretrained(folder / "tiny-t2i-adapter")

    width = 32
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=width,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=224,
            patch_size=56,
            projection_dim=width,
        )
    ).save_pretrained(folder / "tiny-image-encoder")
    image_prompt = {
        "image_proj.proj.weight": torch.randn(4 * 768, width),
        "image_proj.proj.bias": torch.zeros(4 * 768),
        "image_proj.norm.weight": torch.ones(768),
        "image_proj.norm.bias": torch.zeros(768),
    }
    # Numbered among all attention layers, of which every second looks at the prompt.
    for number, (name, layer) in enumerate(crossed):
        kind = name[-1]
        image_prompt[f"ip_adapter.{2 * (number // 2) + 1}.to_{kind}_ip.weight"] = torch.randn(layer.weight.shape) / 30
    save_file(image_prompt, folder / "tiny-ip-adapter.safetensors")


def flux(folder: Path) -> None:
    """Flux dev, and prompts for it: of InvokeAI's own, whose import changes diffusers' ControlNetModel."""
    import tiny_flux
    from invokeai.backend.flux.model import Flux
    from invokeai.backend.model_manager.taxonomy import FluxVariantType
    from invokeai.backend.stable_diffusion.diffusion.conditioning_data import (
        ConditioningFieldData,
        FLUXConditioningInfo,
    )

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
