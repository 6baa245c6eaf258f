"""LGS Sampler with the models that people load, through ComfyUI's own loaders; the weights are random."""

import pytest

from .server import ComfyServer
from .workflows import add, check, output, sampled, side_by_side


def test_sd15(server_with_models: ComfyServer):
    graph = {}
    model = add(graph, "CheckpointLoaderSimple", ckpt_name="sd15.ckpt")
    positive, negative = (
        add(graph, "CLIPTextEncode", clip=output(model, 1), text=text) for text in ("a house", "rain")
    )
    latent = add(graph, "EmptyLatentImage", width=64, height=64, batch_size=1)
    sigmas = add(graph, "BasicScheduler", model=model, scheduler="normal", steps=3, denoise=1.0)
    guider = add(graph, "CFGGuider", model=model, positive=positive, negative=negative, cfg=5.0)

    def sampling(graph, sampler, seed):
        noise = add(graph, "RandomNoise", noise_seed=seed)
        return add(
            graph,
            "SamplerCustomAdvanced",
            noise=noise,
            guider=guider,
            sampler=sampler,
            sigmas=sigmas,
            latent_image=latent,
        )

    side_by_side(graph, sampling)
    latents = sampled(server_with_models, graph)
    print({k: (tuple(v.shape), float(v.std())) for k, v in latents.items()})
    check(latents)
