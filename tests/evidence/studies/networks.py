"""The denoisers of the study of Jacobian-vector products, and their exact products.

The bundled digit model is trained. Beside it stand the architectures that people run, as `diffusers` builds them,
small and with random weights: they round as real ones do. But their Jacobian is no covariance, neither symmetric nor
positive, and nearly without a trace at high noise, so that the engine's reach along v_2 comes out too short there.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from diffusers.utils import logging
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from evidence.gpu.denoisers import log_sigmas, timestep
from evidence.models import DIGITS
from evidence.models.in_precision import InPrecision
from evidence.models.mnist import held_out_digits
from lgs.digits import load_unet

SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
"""Stable Diffusion 1.5's UNet (arXiv 2112.10752): what else there is to say is diffusers' default."""
SMALL_SD15 = SD15 | {"sample_size": 16, "cross_attention_dim": 64, "attention_head_dim": 4}
SMALL_SD15 |= {"layers_per_block": 1, "block_out_channels": (32, 64, 64, 64)}

SDXL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
"""SDXL's UNet (arXiv 2307.01952)."""
SMALL_SDXL = SDXL | {
    "sample_size": 16,
    "layers_per_block": 1,
    "block_out_channels": (32, 64, 64),
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 4, 4),
    "cross_attention_dim": 64,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 6 * 32 + 48,
}

FLUX = {"in_channels": 64, "pooled_projection_dim": 768}
"""Flux's transformer over 2 x 2 patches of a latent of 16 channels."""
SMALL_FLUX = FLUX | {
    "num_layers": 2,
    "num_single_layers": 4,
    "attention_head_dim": 16,
    "num_attention_heads": 4,
    "axes_dims_rope": (4, 6, 6),
    "joint_attention_dim": 64,
    "pooled_projection_dim": 32,
}

RESIDUAL_OUTPUTS = ("conv2", "to_out.0", "to_add_out", "net.2", ".proj_out")
RESIDUAL_GAIN = 0.3
"""Scale of what a residual branch adds, so that activations stay near 1 through all layers."""


def digits(dtype: torch.dtype, items: int) -> InPrecision:
    """The bundled model of ``items`` digits, 0 to 9, again and again; the network in ``dtype``."""
    return InPrecision(load_unet(DIGITS, dtype), torch.arange(items) % 10)


class LatentDiffusion:
    """D = x - sigma eps(x / sqrt(sigma^2 + 1), t) around a UNet; x (batch, 4, height, width), sigma (batch,).

    A trained network returns nearly the noise in x, which random weights do not; what it would return for white
    data of variance 1 is added in the network's own dtype, so that D has the scale of data and eps is rounded as it
    would be: eps = (sigma x' + F) / sqrt(sigma^2 + 1), x' what the network is given, F of variance 1 what it gives.
    """

    log_sigmas = log_sigmas()

    def __init__(self, network: UNet2DConditionModel, dtype: torch.dtype):
        self.network, self.dtype, config = copy.deepcopy(network).to(dtype), dtype, network.config
        self.text = _text(77, config.cross_attention_dim).to(dtype)
        self.added = None
        if config.addition_embed_type:
            pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            sizes = torch.tensor([[1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0]])
            self.added = {"text_embeds": _text(1, pooled)[0].to(dtype), "time_ids": sizes.to(dtype)}

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[:, None, None, None]
        scale = (level**2 + 1).sqrt()
        given = (x / scale).to(self.dtype)
        eps = (level.to(self.dtype) * given + self.output(given, sigma)) / scale.to(self.dtype)
        return x - level * eps.to(x.dtype)

    def output(self, given: Tensor, sigma: Tensor) -> Tensor:
        added = self.added and {name: part.expand(len(given), -1) for name, part in self.added.items()}
        text = self.text.expand(len(given), -1, -1)
        return self.network(given, timestep(self.log_sigmas, sigma).float(), text, added_cond_kwargs=added).sample


class Flow:
    """D = x - sigma v around Flux's transformer; x (batch, 16, height, width), sigma (batch,) in (0, 1).

    Of v that part is added which it has for white data of variance 1, as in `LatentDiffusion`:
    v = ((2 sigma - 1) x / s + F) / s, s^2 = (1 - sigma)^2 + sigma^2.
    """

    def __init__(self, network: FluxTransformer2DModel, dtype: torch.dtype):
        self.network, self.dtype, config = copy.deepcopy(network).to(dtype), dtype, network.config
        self.text = _text(32, config.joint_attention_dim).to(dtype)
        self.pooled = _text(1, config.pooled_projection_dim)[0].to(dtype)
        # Diffusers rounds the time to the model's dtype; ComfyUI does not, and J would be that of another sigma.
        self.network.time_text_embed.register_forward_pre_hook(lambda _module, given: (self.time, *given[1:]))

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma[:, None, None, None]
        scale = ((1 - level) ** 2 + level**2).sqrt()
        given = x.to(self.dtype)
        mean = ((2 * level - 1) / scale).to(self.dtype) * given
        velocity = (mean + self.output(given, sigma)) / scale.to(self.dtype)
        return x - level * velocity.to(x.dtype)

    def output(self, given: Tensor, sigma: Tensor) -> Tensor:
        batch, height, width = len(given), given.shape[2] // 2, given.shape[3] // 2
        self.time = 1000 * sigma
        places = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width)).float()
        tokens = self.network(
            F.pixel_unshuffle(given, 2).flatten(2).mT,
            self.text.expand(batch, -1, -1),
            self.pooled.expand(batch, -1),
            sigma.to(self.dtype),
            places,
            torch.zeros(self.text.shape[1], 3),
        ).sample
        return F.pixel_shuffle(tokens.mT.unflatten(2, (height, width)), 2)


def _text(tokens: int, size: int) -> Tensor:
    """(1, tokens, size)."""
    return torch.randn(1, tokens, size, generator=torch.Generator().manual_seed(1))


def with_random_weights(kind: type[nn.Module], config: dict, denoiser: type, example: Tensor) -> Callable:
    """The denoiser of a dtype. ``example`` is of the shape of x."""
    logging.set_verbosity_error()  # else each cast is warned of
    network = kind(**config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            gain = RESIDUAL_GAIN if name.endswith(RESIDUAL_OUTPUTS) else 1.0
            module.weight.normal_(0.0, gain / math.sqrt(module.weight[0].numel()), generator=generator)
            if module.bias is not None:
                module.bias.zero_()
    last = network.conv_out if isinstance(network, UNet2DConditionModel) else network.proj_out
    last.weight /= denoiser(network, torch.float32).output(example.float(), torch.full((len(example),), 0.5)).std()
    return lambda dtype, _items: denoiser(network, dtype)


@dataclasses.dataclass(frozen=True)
class Model:
    """A denoiser in several precisions, and where it is looked at."""

    name: str
    x0: Tensor
    """Clean data, (batch, ...) in float64."""
    build: Callable[[torch.dtype, int], Callable[[Tensor, Tensor], Tensor]]
    """The denoiser whose network computes in a dtype, for a number of items."""
    sigmas: tuple[float, ...]
    process: str = "ve"
    dtypes: tuple[str, ...] = ("float32", "bfloat16")


def bundled() -> Model:
    x0 = held_out_digits()[0][::500].double()
    sigmas = (0.05, 0.2, 1.0, 3.0, 10.0, 20.0)
    return Model("bundled digits", x0, digits, sigmas, dtypes=("float32", "bfloat16", "float16"))


@torch.no_grad()
def with_architecture(name: str, kind: type[nn.Module], config: dict, **more) -> Model:
    """Two items of smooth random data of variance 1."""
    flow = kind is FluxTransformer2DModel
    noise = torch.randn(2, 16 if flow else 4, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x0 = F.avg_pool2d(noise, 5, 1, 2, count_include_pad=False)
    build = with_random_weights(kind, config, Flow if flow else LatentDiffusion, noise)
    sigmas = (0.05, 0.2, 0.5, 0.8, 0.95) if flow else (0.05, 0.2, 1.0, 3.0, 10.0)
    return Model(name, x0 / x0.std(), build, sigmas, "flow" if flow else "ve")


def models() -> Iterator[Model]:
    """One at a time."""
    yield bundled()
    yield with_architecture("like SD 1.5", UNet2DConditionModel, SMALL_SD15)
    yield with_architecture("like SDXL", UNet2DConditionModel, SMALL_SDXL)
    yield with_architecture("like Flux", FluxTransformer2DModel, SMALL_FLUX)


@dataclasses.dataclass(frozen=True)
class Point:
    """A noise level, an x there, the first two Krylov vectors and their exact products; all in float64."""

    sigma: float
    x: Tensor
    vectors: tuple[Tensor, Tensor]
    """v_1, white noise, and v_2; of length 1."""
    products: tuple[Tensor, Tensor]
    reach: Tensor
    """sqrt(d_eff / d), (batch,): how much shorter a step the engine makes along v_2."""


def points(model: Model, sigmas: tuple[float, ...]) -> list[Point]:
    exact = functools.partial(forward_mode, model.build(torch.float64, len(model.x0)))
    return [_point(exact, model, sigma) for sigma in sigmas]


def _point(exact: Callable, model: Model, sigma: float) -> Point:
    generator = torch.Generator().manual_seed(int(1000 * sigma))
    noise, v = torch.randn(2, *model.x0.shape, generator=generator, dtype=torch.float64)
    x = (1 - sigma if model.process == "flow" else 1.0) * model.x0 + sigma * noise
    v = v / norm(v)
    first = exact(x, sigma, v)
    a = (first * v).flatten(1).sum(1).view(norm(v).shape)
    rest = first - a * v
    second = rest / norm(rest)
    reach = (a.abs() / norm(first)).clamp(0.05, 1.0)
    return Point(sigma, x, (v, second), (first, exact(x, sigma, second)), reach.flatten())


@dataclasses.dataclass(frozen=True)
class Case:
    """A model in one precision."""

    model: Model
    dtype: str
    items: int
    denoise: Callable[[Tensor, Tensor], Tensor]

    def row(self, point: Point, **more) -> dict:
        return {"model": self.model.name, "dtype": self.dtype, "sigma": point.sigma, **more}

    def exact(self, point: Point, vector: int) -> tuple[Tensor, Tensor, Tensor]:
        """x, v and J v in float64."""
        return tuple(t[: self.items] for t in (point.x, point.vectors[vector], point.products[vector]))


@torch.no_grad()
def forward_mode(denoise: Callable, x: Tensor, sigma: float, v: Tensor) -> Tensor:
    """J v by PyTorch's own forward mode, with the one attention kernel that has it."""
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        return forward_ad.unpack_dual(denoise(forward_ad.make_dual(x, v), levels(x, sigma))).tangent


def levels(x: Tensor, sigma: float) -> Tensor:
    """(batch,), like x."""
    return x.new_full((len(x),), sigma)


def norm(x: Tensor) -> Tensor:
    """Of each item, (batch, 1, ...)."""
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)


def error(came: Tensor, expected: Tensor) -> float:
    """Over the whole batch, relative."""
    return ((came.double() - expected).norm() / expected.norm()).item()
