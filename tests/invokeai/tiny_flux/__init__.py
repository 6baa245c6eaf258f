"""A node pack without nodes, by which InvokeAI takes Flux, schnell and dev, to be tiny."""

from invokeai.backend.flux import util
from invokeai.backend.flux.model import FluxParams
from invokeai.backend.model_manager.taxonomy import FluxVariantType

PARAMS = {
    variant: FluxParams(
        in_channels=64,
        vec_in_dim=768,
        context_in_dim=4096,
        hidden_size=48,
        mlp_ratio=2.0,
        num_heads=3,
        depth=1,
        depth_single_blocks=1,
        axes_dim=[4, 6, 6],
        theta=10_000,
        qkv_bias=True,
        guidance_embed=variant is FluxVariantType.Dev,
    )
    for variant in (FluxVariantType.Schnell, FluxVariantType.Dev)
}

util._flux_transformer_params.update(PARAMS)
