"""The models of `checkpoints` in a graph, each with what it is sampled with, as its users load it."""

from __future__ import annotations

import dataclasses

from .workflows import Link, add, output

SIZE = 32
"""Of a picture, in pixels; of a latent, in eighths of it."""


@dataclasses.dataclass
class Loaded:
    model: Link
    positive: Link
    negative: Link
    latent: Link
    vae: Link | None = None


def sd15(graph: dict) -> Loaded:
    """The one whose texts are encoded by its own CLIP."""
    model = add(graph, "CheckpointLoaderSimple", ckpt_name="sd15.ckpt")
    positive, negative = (add(graph, "CLIPTextEncode", clip=output(model, 1), text=text) for text in ("a hut", "rain"))
    return Loaded(model, positive, negative, image(graph), output(model, 2))


def sd21(graph: dict) -> Loaded:
    return _checkpoint(graph, "sd21", width=1024, pooled=1024)


def sdxl(graph: dict) -> Loaded:
    return _checkpoint(graph, "sdxl", width=2048, pooled=1280)


def edm(graph: dict) -> Loaded:
    """As Playground v2.5: a network of SDXL's kind in EDM's preconditioning."""
    return _checkpoint(graph, "edm", width=2048, pooled=1280)


def sd3(graph: dict) -> Loaded:
    loaded = _checkpoint(graph, "sd3", width=4096, pooled=2048)
    loaded.latent = add(graph, "EmptySD3LatentImage", width=SIZE, height=SIZE, batch_size=1)
    return loaded


def sd3_unet(graph: dict, weight_dtype: str = "default") -> Loaded:
    """SD3 by UNETLoader, which can keep the weights in 8 bits."""
    model = add(graph, "UNETLoader", unet_name="sd3.ckpt", weight_dtype=weight_dtype)
    latent = add(graph, "EmptySD3LatentImage", width=SIZE, height=SIZE, batch_size=1)
    return Loaded(model, *random_texts(graph, width=4096, pooled=2048), latent)


def flux(graph: dict) -> Loaded:
    model = add(graph, "UNETLoader", unet_name="flux.ckpt", weight_dtype="default")
    latent = add(graph, "EmptySD3LatentImage", width=SIZE, height=SIZE, batch_size=1)
    return Loaded(model, *random_texts(graph, width=4096, pooled=768), latent)


def wan21(graph: dict) -> Loaded:
    """Video: latents of five axes, three frames of them here."""
    model = add(graph, "UNETLoader", unet_name="wan21.ckpt", weight_dtype="default")
    latent = add(graph, "EmptyHunyuanLatentVideo", width=SIZE, height=SIZE, length=9, batch_size=1)
    return Loaded(model, *random_texts(graph, width=4096, pooled=1), latent)


def sd15_unet(graph: dict) -> Loaded:
    """SD 1.5 by UNETLoader, without CLIP and VAE, which take longer to load than it takes to sample."""
    model = add(graph, "UNETLoader", unet_name="sd15.ckpt", weight_dtype="default")
    return Loaded(model, *random_texts(graph, width=768, pooled=768), image(graph))


def image(graph: dict, batch_size: int = 1) -> Link:
    return add(graph, "EmptyLatentImage", width=SIZE, height=SIZE, batch_size=batch_size)


def random_texts(graph: dict, width: int, pooled: int, count: int = 2) -> list[Link]:
    """As many texts, each 8 tokens long; or what a text encoder of this width might make of them."""
    node, inputs = "LGSTestConditioning", {"tokens": 8, "width": width, "pooled": pooled}
    return [add(graph, node, **inputs, seed=seed) for seed in range(1, count + 1)]


def _checkpoint(graph: dict, name: str, width: int, pooled: int) -> Loaded:
    model = add(graph, "CheckpointLoaderSimple", ckpt_name=f"{name}.ckpt")
    return Loaded(model, *random_texts(graph, width, pooled), image(graph), output(model, 2))


def picture(graph: dict) -> Link:
    """A picture, as a latent."""
    vae = add(graph, "VAELoader", vae_name="sd15.ckpt")
    return add(graph, "VAEEncode", pixels=add(graph, "LoadImage", image="picture.png"), vae=vae)
