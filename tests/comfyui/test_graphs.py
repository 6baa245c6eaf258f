"""What people wire around a sampler, on Stable Diffusion 1.5: each workflow with LGS Sampler and with ComfyUI's own."""

from collections.abc import Callable

import pytest

from .client import Client
from .loaded import SIZE, Loaded, random_texts, sd3_unet, sd15, sd15_unet
from .server import ComfyServer
from .workflows import (
    SEED,
    Link,
    Sampling,
    add,
    by_guider,
    check,
    lgs_sampler,
    output,
    run,
    saved_latents,
    scheduled,
    side_by_side,
)

GUIDANCE = 3.0


def guided(graph: dict, parts: Loaded, **changes: Link) -> Sampling:
    """By CFGGuider, with some of the parts in another place."""
    inputs = {"model": parts.model, "positive": parts.positive, "negative": parts.negative} | changes
    guider = add(graph, "CFGGuider", **inputs, cfg=GUIDANCE)
    return by_guider(guider, scheduled(graph, parts.model), parts.latent)


def lora(graph: dict) -> tuple[Sampling, Sampling]:
    """Of the model and of its CLIP."""
    parts = sd15(graph)
    files = {"lora_name": "sd15.ckpt", "strength_model": 1.0, "strength_clip": 1.0}
    loader = add(graph, "LoraLoader", model=parts.model, clip=output(parts.model, 1), **files)
    positive = add(graph, "CLIPTextEncode", clip=output(loader, 1), text="a hut")
    return guided(graph, parts, model=loader, positive=positive), guided(graph, parts)


def controlnet(graph: dict) -> tuple[Sampling, Sampling]:
    parts = sd15_unet(graph)
    texts = {"positive": parts.positive, "negative": parts.negative}
    inputs = {"image": add(graph, "LoadImage", image="picture.png"), "strength": 0.8}
    net = add(graph, "ControlNetLoader", control_net_name="sd15.ckpt")
    percent = {"start_percent": 0.0, "end_percent": 0.6}
    applied = add(graph, "ControlNetApplyAdvanced", **texts, control_net=net, **inputs, **percent)
    return guided(graph, parts, positive=applied, negative=output(applied, 1)), guided(graph, parts)


def area(graph: dict) -> tuple[Sampling, Sampling]:
    """Another text in the left half, and a third under a mask."""
    parts = sd15_unet(graph)
    texts = random_texts(graph, width=768, pooled=768, count=4)
    place = {"width": 0.5, "height": 1.0, "x": 0.0, "y": 0.0, "strength": 1.0}
    left = add(graph, "ConditioningSetAreaPercentage", conditioning=texts[2], **place)
    mask = add(graph, "SolidMask", value=0.5, width=SIZE, height=SIZE)
    faint = {"mask": mask, "strength": 1.0, "set_cond_area": "default"}
    masked = add(graph, "ConditioningSetMask", conditioning=texts[3], **faint)
    both = add(graph, "ConditioningCombine", conditioning_1=left, conditioning_2=masked)
    combined = add(graph, "ConditioningCombine", conditioning_1=parts.positive, conditioning_2=both)
    return guided(graph, parts, positive=combined), guided(graph, parts)


def timestep_range(graph: dict) -> tuple[Sampling, Sampling]:
    """One text for the first half of the noise levels, another for the second."""
    parts = sd15_unet(graph)
    texts = random_texts(graph, width=768, pooled=768, count=3)
    early = add(graph, "ConditioningSetTimestepRange", conditioning=texts[2], start=0.0, end=0.3)
    late = add(graph, "ConditioningSetTimestepRange", conditioning=parts.positive, start=0.3, end=1.0)
    scheduled_texts = add(graph, "ConditioningCombine", conditioning_1=early, conditioning_2=late)
    return guided(graph, parts, positive=scheduled_texts), guided(graph, parts)


def patched(node: str, **inputs: object) -> Callable[[dict], tuple[Sampling, Sampling]]:
    """A node that takes a MODEL and gives one."""

    def workflow(graph: dict) -> tuple[Sampling, Sampling]:
        parts = sd15_unet(graph)
        model = add(graph, node, model=parts.model, **inputs)
        return guided(graph, parts, model=model), guided(graph, parts)

    workflow.__name__ = node
    return workflow


def self_attention_guidance(graph: dict) -> tuple[Sampling, Sampling]:
    """Which leaves latents of four by four alone."""
    parts = sd15_unet(graph)
    parts.latent = add(graph, "EmptyLatentImage", width=2 * SIZE, height=2 * SIZE, batch_size=1)
    model = add(graph, "SelfAttentionGuidance", model=parts.model, scale=0.5, blur_sigma=2.0)
    return guided(graph, parts, model=model), guided(graph, parts)


def fp8(weight_dtype: str) -> Callable[[dict], tuple[Sampling, Sampling]]:
    def workflow(graph: dict) -> tuple[Sampling, Sampling]:
        return guided(graph, sd3_unet(graph, weight_dtype)), guided(graph, sd3_unet(graph))

    workflow.__name__ = weight_dtype
    return workflow


def offloaded(graph: dict) -> tuple[Sampling, Sampling]:
    """With a LoRA, which is applied whenever a weight is fetched."""
    parts = sd15_unet(graph)
    patched = add(graph, "LoraLoaderModelOnly", model=parts.model, lora_name="sd15.ckpt", strength_model=1.0)
    return guided(graph, parts, model=add(graph, "LGSTestOffload", model=patched)), guided(graph, parts)


def basic_guider(graph: dict) -> tuple[Sampling, Sampling]:
    parts = sd15_unet(graph)
    guider = add(graph, "BasicGuider", model=parts.model, conditioning=parts.positive)
    return by_guider(guider, scheduled(graph, parts.model), parts.latent), guided(graph, parts)


def dual_cfg_guider(graph: dict) -> tuple[Sampling, Sampling]:
    parts = sd15_unet(graph)
    texts = random_texts(graph, width=768, pooled=768, count=3)
    inputs = {"cond1": parts.positive, "cond2": texts[2], "negative": parts.negative, "style": "regular"}
    strengths = {"cfg_conds": 3.0, "cfg_cond2_negative": 2.0}
    guider = add(graph, "DualCFGGuider", model=parts.model, **inputs, **strengths)
    return by_guider(guider, scheduled(graph, parts.model), parts.latent), guided(graph, parts)


def perp_neg_guider(graph: dict) -> tuple[Sampling, Sampling]:
    parts = sd15_unet(graph)
    empty = random_texts(graph, width=768, pooled=768, count=3)[2]
    inputs = {"positive": parts.positive, "negative": parts.negative, "empty_conditioning": empty}
    guider = add(graph, "PerpNegGuider", model=parts.model, **inputs, cfg=GUIDANCE, neg_scale=1.0)
    return by_guider(guider, scheduled(graph, parts.model), parts.latent), guided(graph, parts)


WORKFLOWS = [
    lora,
    controlnet,
    area,
    timestep_range,
    patched("FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2),
    patched("PerturbedAttentionGuidance", scale=3.0),
    self_attention_guidance,
    patched("RescaleCFG", multiplier=0.7),
    patched("Mahiro"),
    patched("ModelSamplingContinuousEDM", sampling="v_prediction", sigma_max=120.0, sigma_min=0.002),
    offloaded,
    fp8("fp8_e4m3fn"),
    fp8("fp8_e5m2"),
    basic_guider,
    dual_cfg_guider,
    perp_neg_guider,
]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.__name__)
def test_workflow(server_with_models: ComfyServer, workflow: Callable[[dict], tuple[Sampling, Sampling]]):
    graph = {}
    sampling, without = workflow(graph)
    side_by_side(graph, sampling, without)
    check(saved_latents(server_with_models, run(server_with_models, graph)))


def test_compiled(server_with_models: ComfyServer):
    """Compiled code drops derivatives, so forward mode runs what it was compiled from."""
    graph = {}
    parts = sd3_unet(graph)
    model = add(graph, "TorchCompileModel", model=parts.model, backend="inductor")
    side_by_side(graph, guided(graph, parts, model=model))
    check(saved_latents(server_with_models, run(server_with_models, graph, timeout=600)))


@pytest.mark.parametrize("node", ["EasyCache", "LazyCache"])
def test_cached_answers_are_refused(server_with_models: ComfyServer, node: str):
    """Unless the covariance takes no products."""
    client = Client(server_with_models.address)
    outcomes = {}
    for covariance in ("lanczos", "isotropic"):
        graph = {}
        parts = sd3_unet(graph)
        percent = {"start_percent": 0.15, "end_percent": 0.95}
        model = add(graph, node, model=parts.model, reuse_threshold=0.2, **percent, verbose=False)
        latent = guided(graph, parts, model=model)(graph, lgs_sampler(graph, covariance=covariance), SEED)
        add(graph, "SaveLatent", samples=latent, filename_prefix=covariance)
        outcomes[covariance] = client.run(graph)
    assert outcomes["lanczos"].outcome == "execution_error"
    assert "Remove that node" in outcomes["lanczos"].details["exception_message"]
    assert outcomes["isotropic"].outcome == "execution_success"


@pytest.mark.parametrize("node", ["EasyCache", "LazyCache"])
def test_cached_answers_are_refused_by_the_covariance_too(server_with_models: ComfyServer, node: str):
    graph = {}
    parts = sd15(graph)
    percent = {"start_percent": 0.0, "end_percent": 1.0}
    model = add(graph, node, model=parts.model, reuse_threshold=0.2, **percent, verbose=False)
    guider = add(graph, "CFGGuider", model=model, positive=parts.positive, negative=parts.negative, cfg=1.0)
    noise = add(graph, "RandomNoise", noise_seed=SEED)
    asked = {"sigma": 0.5, "draws": 2, "lanczos_steps": 2, "components": 1}
    shown = add(graph, "LGSCovariance", guider=guider, noise=noise, latent_image=parts.latent, vae=parts.vae, **asked)
    add(graph, "PreviewImage", images=shown)
    run = Client(server_with_models.address).run(graph)
    assert run.outcome == "execution_error"
    assert "LGS Covariance: expected the model itself" in run.details["exception_message"]
