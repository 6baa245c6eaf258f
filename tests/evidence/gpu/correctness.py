"""Right numbers on the device: against closed forms and against the CPU in float64."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

import lgs

from . import unet
from .denoisers import Digits, Gaussian, LatentDiffusion
from .record import Figure, Figures, check

JVPS = ("forward", "finite-difference")
PRODUCTS = (*JVPS, "central-difference")
SIGMAS = (10.0, 3.0, 0.8, 0.0)


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal numbers on the CPU in float64: the same ones for every device and dtype."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def error(value: Tensor, reference: Tensor) -> float:
    """The largest relative error of any item; nan if any number is not finite."""
    value, reference = (tensor.detach().to("cpu", torch.float64).flatten(1) for tensor in (value, reference))
    return ((value - reference).norm(dim=1) / reference.norm(dim=1)).max().item()


def trajectory(denoise: Callable, x: Tensor, noise: Tensor, sigmas=SIGMAS, **options) -> Tensor:
    """A trajectory whose noise is given for all of its steps: (steps, batch, ...)."""
    draws = iter(noise)
    return lgs.sample(denoise, x, list(sigmas), options, noise=lambda *_: next(draws))


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 convolutions may round their inputs to TF32, as PyTorch lets them by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def warnings_of_lgs() -> Iterator[list[str]]:
    """What the product warns of meanwhile: `auto` says so where it takes forward mode to be wrong."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("lgs")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


@cache
def digit_images() -> Tensor:
    """Ten digits (10, 1, 32, 32), drawn by the bundled model on the CPU in float64 with Euler steps."""
    denoise = Digits("cpu", torch.float64)
    levels = [20 * 0.5**i for i in range(10)]
    x = normal(10, 1, 32, 32, seed=0) * levels[0]
    for sigma, sigma_next in zip(levels, [*levels[1:], 0.0], strict=True):
        denoised = denoise(x, x.new_full((10,), sigma))
        x = denoised + (x - denoised) * (sigma_next / sigma)
    return x


@cache
def digit_product(sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """x at ``sigma``, v, and J v by central differences on the CPU in float64."""
    denoise = Digits("cpu", torch.float64)
    x = digit_images() + sigma * normal(10, 1, 32, 32, seed=2)
    v = normal(10, 1, 32, 32, seed=3)
    return x, v, central_difference(denoise, x, sigma, v)


def central_difference(denoise: Callable, x: Tensor, sigma: float, v: Tensor) -> Tensor:
    """J v in float64, by a method that neither of the product's is."""
    h, level = 1e-4 * sigma, x.new_full((len(x),), sigma)
    return (denoise(x + h * v, level) - denoise(x - h * v, level)) / (2 * h)


@check("J v, Gaussian, against the closed form")
def gaussian_product(device: torch.device) -> Figures:
    exact = Gaussian(256, "cpu")
    v = normal(4, 256, seed=1)
    x = exact.times(exact.eigenvalues.sqrt(), normal(4, 256, seed=2)) + 0.5 * normal(4, 256, seed=3)
    figures = {}
    for dtype, bounds in {torch.float64: (1e-12, 1e-8, 1e-8), torch.float32: (1e-5, 1e-2, 1e-2)}.items():
        denoise = Gaussian(256, device, dtype)
        for jvp, bound in zip(PRODUCTS, bounds, strict=True):
            _, product = lgs.jvp(denoise, x.to(device, dtype), 0.5, v.to(device, dtype), {"jvp": jvp})
            figures[f"{jvp}, {dtype}"] = Figure(error(product, exact.product(0.5, v)), bound)
    return figures


@check("J v, bundled digit model in float32, against the CPU")
def digit_products(device: torch.device) -> Figures:
    figures = {}
    denoise = Digits(device, torch.float32)
    with tf32(False):
        for jvp, bound in zip(PRODUCTS, (1e-4, 2e-2, 1e-2), strict=True):
            for sigma in (0.2, 1.0, 3.0, 10.0):
                x, v, exact = digit_product(sigma)
                _, product = lgs.jvp(denoise, x.to(device).float(), sigma, v.to(device).float(), {"jvp": jvp})
                figures[f"{jvp}, sigma {sigma}"] = Figure(error(product, exact), bound)
    return figures


@check("J v, bundled digit model in float32, convolutions in TF32 as PyTorch has it by default")
def digit_products_in_tf32(device: torch.device) -> Figures:
    """TF32 has float16's ten bits, and a finite difference needs float16's step: 6 to 15 % off; with
    float32's it is 40 to 240 % off. `auto` must not mistake that for a fault of forward mode."""
    figures = {}
    denoise = Digits(device, torch.float32)
    with tf32(True):
        for jvp, bound in zip(PRODUCTS, (2e-2, 0.4, 0.2), strict=True):
            for sigma in (0.2, 1.0, 3.0, 10.0):
                x, v, exact = digit_product(sigma)
                _, product = lgs.jvp(denoise, x.to(device).float(), sigma, v.to(device).float(), {"jvp": jvp})
                figures[f"{jvp}, sigma {sigma}"] = Figure(error(product, exact), bound)
        for sigma in (0.2, 1.0, 3.0, 10.0):
            x = digit_product(sigma)[0].to(device).float()
            with warnings_of_lgs() as said:
                lgs.sample(denoise, x, [sigma, sigma / 2], {"jvp": "auto", "lanczos_steps": 1})
            figures[f"auto warns of forward mode, sigma {sigma}"] = Figure(len(said), 0)
    return figures


@check("J v, bundled digit model in half precision under x in float32, against the CPU")
def half_precision_products(device: torch.device) -> Figures:
    figures = {}
    # Bounds of finite differences: they tell a wrong step from a right one; the rounding itself is large.
    for dtype, bounds in {torch.float16: (0.02, 0.4, 0.2), torch.bfloat16: (0.15, 0.9, 0.6)}.items():
        denoise = Digits(device, torch.float32, network_dtype=dtype)
        name = str(dtype).removeprefix("torch.")
        for jvp, bound in zip(PRODUCTS, bounds, strict=True):
            for sigma in (0.2, 10.0):
                x, v, exact = digit_product(sigma)
                options = {"jvp": jvp, "precision": name}
                _, product = lgs.jvp(denoise, x.to(device).float(), sigma, v.to(device).float(), options)
                figures[f"{jvp}, {name}, sigma {sigma}"] = Figure(error(product, exact), bound)
    return figures


@check("J v, UNets with fused attention, against the CPU")
def unet_products(device: torch.device) -> Figures:
    figures = {}
    x, v = 3 * normal(2, 4, 16, 16, seed=1), normal(2, 4, 16, 16, seed=2)
    sigma = 2.0
    for name, config in {"SD1.5, small": unet.SMALL_SD15, "SDXL, small": unet.SMALL_SDXL}.items():
        host = LatentDiffusion(config, torch.device("cpu"), torch.float64)
        exact = central_difference(host, x, sigma, v)
        # Finite differences of random networks in bfloat16 are too rough to be judged.
        for dtype, bounds in {torch.float32: (1e-4, 2e-2), torch.bfloat16: (0.1, None)}.items():
            denoise = host.moved(device, dtype)
            precision = str(dtype).removeprefix("torch.")
            for jvp, bound in zip(JVPS, bounds, strict=True):
                try:
                    with tf32(False):
                        options = {"jvp": jvp, "precision": precision}
                        _, product = lgs.jvp(denoise, x.to(device).float(), sigma, v.to(device).float(), options)
                except NotImplementedError:
                    continue  # no forward mode through fused attention in this release
                figures[f"{name}, {jvp}, {precision}"] = Figure(error(product, exact), bound)
    return figures


@check("reverse_noise, Gaussian, against the closed form and the CPU")
def gaussian_noise(device: torch.device) -> Figures:
    figures = {}
    # With as many products as dimensions it is exact; with eta = 0 the least eigenvalues need many.
    for dimension, steps, bounds in ((512, 8, {1.0: 1e-4, 0.0: 2e-2}), (32, 32, {1.0: 1e-8, 0.0: 1e-8})):
        host, denoise = Gaussian(dimension, "cpu"), Gaussian(dimension, device)
        x, z = normal(4, dimension, seed=1), normal(4, dimension, seed=2)
        for eta, bound in bounds.items():
            exact = host.reverse_noise(0.5, 0.2, eta, z)
            for jvp in JVPS:
                options = {"jvp": jvp, "lanczos_steps": steps, "eta": eta}
                value = lgs.reverse_noise(denoise, x.to(device), 0.5, 0.2, z.to(device), options)
                title = f"d = {dimension}, K = {steps}, eta = {eta:g}, {jvp}"
                figures[title] = Figure(error(value, exact), bound)
                on_cpu = lgs.reverse_noise(host, x, 0.5, 0.2, z, options)
                figures[f"{title}, off the CPU's"] = Figure(error(value, on_cpu), 1e-8)
    return figures


@check("reverse_noise, bundled digit model in float32, against the CPU in float64")
def digit_noise(device: torch.device) -> Figures:
    figures = {}
    host, denoise = Digits("cpu", torch.float64), Digits(device, torch.float32)
    z = normal(10, 1, 32, 32, seed=4)
    with tf32(False):
        for sigma, sigma_next in ((10.0, 6.0), (1.0, 0.5)):
            x, _, _ = digit_product(sigma)
            exact = lgs.reverse_noise(host, x, sigma, sigma_next, z, {"jvp": "forward"})
            for jvp, bound in zip(JVPS, (1e-4, 1e-2), strict=True):
                arguments = x.to(device).float(), sigma, sigma_next, z.to(device).float()
                value = lgs.reverse_noise(denoise, *arguments, {"jvp": jvp})
                figures[f"sigma {sigma} to {sigma_next}, {jvp}"] = Figure(error(value, exact), bound)
    return figures


@check("a trajectory with the same noise, against the CPU in float64")
def trajectories(device: torch.device) -> Figures:
    figures = {}
    models = {
        "Gaussian": ((128,), lambda device: Gaussian(128, device)),
        "digits": ((1, 32, 32), lambda device: Digits(device, torch.float64)),
    }
    for name, (shape, model) in models.items():
        host, denoise = model("cpu"), model(device)
        x, noise = SIGMAS[0] * normal(10, *shape, seed=5), normal(len(SIGMAS), 10, *shape, seed=6)
        for jvp in JVPS:
            exact = trajectory(host, x, noise, jvp=jvp)
            value = trajectory(denoise, x.to(device), noise.to(device), jvp=jvp)
            figures[f"{name}, {jvp}"] = Figure(error(value, exact), 1e-6)
        exact = trajectory(host, x, noise, covariance="isotropic")
        value = trajectory(denoise, x.to(device), noise.to(device), covariance="isotropic")
        figures[f"{name}, isotropic"] = Figure(error(value, exact), 1e-10)
    return figures


@check("inference mode, weights made in it, gives what ordinary mode gives")
def inference_mode(device: torch.device) -> Figures:
    figures = {}
    sigmas = (4.0, 1.0, 0.0)
    x, noise = sigmas[0] * normal(10, 1, 32, 32, seed=5), normal(len(sigmas), 10, 1, 32, 32, seed=6)

    def sampled(jvp: str) -> Tensor:
        return trajectory(Digits(device, torch.float64), x.to(device), noise.to(device), sigmas, jvp=jvp)

    for jvp in JVPS:
        ordinary = sampled(jvp)
        with torch.inference_mode():
            inside = sampled(jvp)
        figures[jvp] = Figure(error(inside, ordinary), 1e-6)
    return figures


@check("x in half precision comes back in half precision")
def half_precision_x(device: torch.device) -> Figures:
    figures = {}
    x, noise = SIGMAS[0] * normal(4, 128, seed=5), normal(len(SIGMAS), 4, 128, seed=6)
    exact = trajectory(Gaussian(128, "cpu"), x, noise, jvp="forward")
    for dtype, bound in {torch.float16: 0.05, torch.bfloat16: 0.2}.items():
        denoise = Gaussian(128, device, dtype)
        for jvp in JVPS:
            value = trajectory(denoise, x.to(device, dtype), noise.to(device, dtype), jvp=jvp)
            moved = value.dtype != dtype or value.device != denoise.vectors.device
            figures[f"{dtype}, {jvp}, another dtype or device"] = Figure(moved, 0)
            figures[f"{dtype}, {jvp}"] = Figure(error(value, exact), bound)
    return figures


@check("errors come out as they should, and the sampler works afterwards")
def errors(device: torch.device) -> Figures:
    denoise = Gaussian(32, device)
    x = normal(2, 32).to(device)
    fault = RuntimeError("the model's own")

    def failing(x: Tensor, sigma: Tensor) -> Tensor:
        raise fault

    figures = {
        "a model's exception is lost": Figure(raised(failing, x) is not fault, 0),
        "NaN from the model is not noticed": Figure(
            not isinstance(raised(lambda x, sigma: x * float("nan"), x), lgs.ModelOutputError), 0
        ),
    }
    if device.type != "cpu":
        problem = raised(denoise, x, noise=lambda *_: torch.randn(2, 32, dtype=torch.float64))
        noticed = isinstance(problem, lgs.ModelOutputError) and str(device) in str(problem)
        figures["noise on another device is not noticed"] = Figure(not noticed, 0)
    figures["the sampler does not work afterwards"] = Figure(raised(denoise, x) is not None, 0)
    return figures


def raised(denoise: Callable, x: Tensor, **arguments) -> BaseException | None:
    """What sampling raises."""
    try:
        lgs.sample(denoise, x, [1.0, 0.5, 0.0], {"jvp": "finite-difference"}, **arguments)
    except Exception as problem:
        return problem
    return None
