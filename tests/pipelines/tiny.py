"""diffusers' own pipelines around networks of a few thousand random weights, made here: nothing is downloaded."""

from __future__ import annotations

import string
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
"""Noise levels of Stable Diffusion 1 to XL."""

SIZE = 32
"""Of the pictures; latents are half as large, and Flux packs 2 x 2 of them."""


def unet(channels: int = 4, **kwargs: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=2,
        **{"cross_attention_dim": 16, "attention_head_dim": 2} | kwargs,
    )


def vae(latent_channels: int = 4, **kwargs: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=2,
        **kwargs,
    )


def text_encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=2 + 2 * 26,
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=1,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
    )
    return CLIPTextModel(config)


def tokenizer() -> CLIPTokenizer:
    """Letter by letter."""
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=16)


def stable_diffusion(kind: type[DiffusionPipeline], channels: int = 4, **others: Any) -> DiffusionPipeline:
    """Stable Diffusion 1.5, of any kind."""
    torch.manual_seed(0)
    return _quiet(
        kind(
            unet=unet(channels).eval(),
            vae=vae().eval(),
            text_encoder=text_encoder().eval(),
            tokenizer=tokenizer(),
            scheduler=DDIMScheduler(**STABLE_DIFFUSION, clip_sample=False, set_alpha_to_one=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **others,
        )
    )


def controlnet() -> ControlNetModel:
    torch.manual_seed(1)
    net = ControlNetModel(
        in_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        conditioning_embedding_out_channels=(8, 8),
        norm_num_groups=2,
    )
    for block in net.controlnet_down_blocks:
        torch.nn.init.normal_(block.weight)  # made as zeros, and would control nothing
    return net.eval()


def stable_diffusion_xl(kind: type[DiffusionPipeline]) -> DiffusionPipeline:
    """Its text encoders are left out: prompts come as embeddings."""
    torch.manual_seed(0)
    # Six numbers about the picture's size, 8 each, beside 16 of the prompt.
    own = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    net = unet(projection_class_embeddings_input_dim=6 * 8 + 16, **own)
    nothing = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    scheduler = DDIMScheduler(**STABLE_DIFFUSION, clip_sample=False, set_alpha_to_one=False)
    return _quiet(kind(unet=net.eval(), vae=vae().eval(), scheduler=scheduler, **nothing))


def stable_diffusion_3(kind: type[DiffusionPipeline]) -> DiffusionPipeline:
    torch.manual_seed(0)
    net = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        out_channels=16,
        pos_embed_max_size=16,
    )
    nothing = dict.fromkeys(f"{part}{n}" for part in ("text_encoder", "tokenizer") for n in ("", "_2", "_3"))
    shifted = {"shift_factor": 0.06, "scaling_factor": 1.5}
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return _quiet(kind(transformer=net.eval(), vae=vae(16, **shifted).eval(), scheduler=flow, **nothing))


def flux(kind: type[DiffusionPipeline]) -> DiffusionPipeline:
    torch.manual_seed(0)
    net = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    nothing = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    shifted = {"shift_factor": 0.06, "scaling_factor": 1.5}
    flow = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return _quiet(kind(transformer=net.eval(), vae=vae(**shifted).eval(), scheduler=flow, **nothing))


def embeddings(*parts: str) -> dict[str, torch.Tensor]:
    """A prompt and whatever of it else a pipeline takes: (1, 6, 16), and pooled (1, 16)."""
    generator = torch.Generator().manual_seed(7)
    shapes = {part: (1, 16) if "pooled" in part else (1, 6, 16) for part in ("prompt_embeds", *parts)}
    return {part: torch.randn(shape, generator=generator) for part, shape in shapes.items()}


def picture(seed: int = 3) -> torch.Tensor:
    """(1, 3, size, size), from 0 to 1."""
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def mask() -> torch.Tensor:
    """(1, 1, size, size), 1 in the right half, which is to be drawn."""
    return (torch.arange(SIZE) >= SIZE // 2).float().expand(1, 1, SIZE, SIZE)


def _quiet(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
