"""LGS Sampler with the models that people load, through ComfyUI's own loaders; the weights are random."""

from collections.abc import Callable

import pytest

from . import loaded
from .loaded import SIZE, Loaded
from .server import ComfyServer
from .workflows import add, by_guidance, by_guider, check, run, saved_latents, scheduled, side_by_side

MODELS = {
    loaded.sd15: "EPS",
    loaded.sd21: "V_PREDICTION",
    loaded.sdxl: "EPS",
    loaded.edm: "EDM",
    loaded.sd3: "FLOW",
    loaded.flux: "FLUX",
    loaded.wan21: "FLOW",
}
"""With the kind that ComfyUI's loader, in its log, takes each for."""

ROUNDING = {"fp32": 1e-4, "bf16": 0.02}
"""Of three evaluations of the model."""


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("load", MODELS, ids=lambda load: load.__name__)
def test_model(
    server_with_models: ComfyServer,
    load: Callable[[dict], Loaded],
    guidance: float,
    dtype: str,
):
    """By SamplerCustom without guidance, by SamplerCustomAdvanced with; decoded where there is a VAE."""
    server, graph = server_with_models, {}
    parts = load(graph)
    skip_if_not_offered(server, graph)
    model = add(graph, "ModelComputeDtype", model=parts.model, dtype=dtype)
    sigmas = scheduled(graph, model)
    texts = {"positive": parts.positive, "negative": parts.negative, "cfg": guidance}
    if guidance == 1:
        sampling = by_guidance(model, sigmas=sigmas, latent=parts.latent, **texts)
    else:
        sampling = by_guider(add(graph, "CFGGuider", model=model, **texts), sigmas, parts.latent)
    branches = side_by_side(graph, sampling)
    if parts.vae is not None:
        picture = add(graph, "VAEDecode", samples=branches["lgs"], vae=parts.vae)
        add(graph, "SaveImage", images=picture, filename_prefix="picture")

    before = len(server.log_text())
    done = run(server, graph)
    assert f"model_type {MODELS[load]}" in server.log_text()[before:]
    check(saved_latents(server, done), ROUNDING[dtype])
    if parts.vae is not None:
        assert done.images.shape == (1, SIZE, SIZE)
        assert done.images.std() > 1, "one grey, as NaN is saved"


def skip_if_not_offered(server: ComfyServer, graph: dict) -> None:
    """A file that `checkpoints` does not make for this version of ComfyUI."""
    for node in graph.values():
        file = node["inputs"].get("unet_name") or node["inputs"].get("ckpt_name")
        if file and not list((server.folder / "models").glob(f"*/{file}")):
            pytest.skip(f"this ComfyUI's loader takes no {file} that is small enough to test: see checkpoints.py")
