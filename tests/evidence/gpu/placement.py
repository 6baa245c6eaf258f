"""Where and when: the stream and the device that the work is done on, waits for the device, memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import lgs

from . import unet
from .correctness import JVPS, SIGMAS, error, normal, trajectory
from .denoisers import Digits, Gaussian, LatentDiffusion
from .record import Figure, Figures, Skip, check
from .trace import trace, warned_waits

PAUSE = 10_000_000
"""Clock cycles, some 5 ms: far longer than it takes to launch what comes next."""


def need_cuda(device: torch.device) -> None:
    if device.type != "cuda":
        raise Skip("needs a CUDA device")


@check("non-default stream: what becomes ready late on it is read late")
def late_producers(device: torch.device) -> Figures:
    """x, every noise and every result of the model are written only after a pause on that stream.
    Whoever reads them on another stream finds 7."""
    need_cuda(device)
    figures = {}
    x, noise = SIGMAS[0] * normal(4, 128, seed=5), normal(len(SIGMAS), 4, 128, seed=6)
    denoise = Gaussian(128, device)
    stream = torch.cuda.Stream(device)
    elsewhere = []

    def late(value: Tensor) -> Tensor:
        elsewhere.append(torch.cuda.current_stream(device) != stream)
        result = torch.full_like(value, 7.0)
        torch.cuda.current_stream(device).synchronize()
        torch.cuda._sleep(PAUSE)
        return result.copy_(value)

    for jvp in JVPS:
        expected = trajectory(Gaussian(128, "cpu"), x, noise, jvp=jvp)
        on_device, noise_on_device = x.to(device), noise.to(device)
        torch.cuda.synchronize(device)
        with torch.cuda.stream(stream):
            draws = (late(z) for z in noise_on_device)
            value = trajectory(lambda x, sigma: late(denoise(x, sigma)), late(on_device), draws, jvp=jvp)
            value = value.cpu()
        figures[jvp] = Figure(error(value, expected), 1e-6)
    figures["callbacks on another stream"] = Figure(sum(elsewhere), 0)
    return figures


@check("non-default stream: every kernel runs on it")
def every_kernel(device: torch.device) -> Figures:
    need_cuda(device)
    figures = {}
    x, noise = (tensor.to(device) for tensor in (normal(10, 1, 32, 32), normal(len(SIGMAS), 10, 1, 32, 32)))
    denoise = Digits(device, torch.float64)
    torch.cuda.synchronize(device)
    default = set(trace(lambda: torch.ones(8, device=device)).streams)
    with torch.cuda.stream(torch.cuda.Stream(device)):
        ours = set(trace(lambda: torch.ones(8, device=device)).streams)
        figures["streams of one kernel on it"] = Figure(abs(len(ours) - 1), 0)
        figures["it is the default one"] = Figure(ours == default, 0)
        for jvp in JVPS:
            streams = trace(lambda jvp=jvp: trajectory(denoise, x, noise, jvp=jvp)).streams
            figures[f"{jvp}: elsewhere"] = Figure(sum(n for place, n in streams.items() if place not in ours), 0)
            figures[f"{jvp}: kernels and copies"] = Figure(streams.total())
            figures[f"{jvp}: none was seen"] = Figure(not streams, 0)
    return figures


@check("a second device, while the first is the current one")
def second_device(device: torch.device) -> Figures:
    need_cuda(device)
    if torch.cuda.device_count() < 2:
        raise Skip("needs a second CUDA device")
    figures = {}
    current = torch.cuda.current_device()
    other = torch.device("cuda", (current + 1) % torch.cuda.device_count())
    x, noise = SIGMAS[0] * normal(4, 128, seed=5), normal(len(SIGMAS), 4, 128, seed=6)
    denoise = Gaussian(128, other)
    for jvp in JVPS:
        expected = trajectory(Gaussian(128, "cpu"), x, noise, jvp=jvp)
        torch.cuda.reset_peak_memory_stats(current)
        before = torch.cuda.memory_allocated(current)
        value = trajectory(denoise, x.to(other), noise.to(other), jvp=jvp)
        taken = torch.cuda.max_memory_allocated(current) - before
        figures[jvp] = Figure(error(value, expected), 1e-6)
        figures[f"{jvp}: result not on it"] = Figure(value.device != other, 0)
        figures[f"{jvp}: bytes taken on the current device"] = Figure(taken, 0)
        figures[f"{jvp}: the current device has changed"] = Figure(torch.cuda.current_device() != current, 0)
    return figures


FEW, MANY = 1, 3
"""Steps of two trajectories: what the longer one does more is what steps do, and not what a trajectory
does once."""


def sampler(device: torch.device, denoise: Callable, x: Tensor, *, as_host: bool = False, **options) -> Callable:
    """Samples as many steps as asked for, all of them with noise.

    ``as_host``: like ComfyUI, with the noise levels on the device, a noise sampler and a callback.
    """
    z = torch.randn_like(x)
    options = {"lanczos_steps": 2} | options

    def sample(steps: int) -> Tensor:
        sigmas = torch.tensor([10 * 0.7**i for i in range(steps + 1)], dtype=torch.float64)
        if as_host:
            return lgs.sample(denoise, x, sigmas.to(device), options, noise=lambda *_: z, callback=lambda _: None)
        return lgs.sample(denoise, x, sigmas, options)

    return sample


def sampled_cases(device: torch.device) -> dict[str, tuple[Callable, int, int | None]]:
    """Name: how to sample, copies to the host a step, waits a step (None: they are only told)."""
    digits, x = Digits(device, torch.float32), normal(10, 1, 32, 32).to(device).float()
    latent = LatentDiffusion(unet.SMALL_SDXL, device, torch.float32), normal(2, 4, 8, 8).to(device).float()
    # The second wait of a Lanczos step sends K + 1 numbers back, when nothing is left to do on the device.
    return {
        "finite differences": (sampler(device, digits, x, jvp="finite-difference"), 1, 2),
        "forward mode": (sampler(device, digits, x, jvp="forward"), 1, 2),
        "fused attention, finite differences": (sampler(device, *latent, jvp="finite-difference"), 1, 2),
        "fused attention, forward mode": (sampler(device, *latent, jvp="forward"), 1, 2),
        "auto": (sampler(device, digits, x, jvp="auto"), 1, 2),
        "isotropic": (sampler(device, digits, x, covariance="isotropic"), 1, 1),
        "secant": (sampler(device, digits, x, solver="secant"), 1, 1),
        "secant, with noise": (sampler(device, digits, x, solver="secant", eta=0.3), 1, 1),
        # One fetch after each of two products, to see whether they suffice, and the one at the end.
        "with a tolerance": (sampler(device, digits, x, jvp="finite-difference", tolerance=1e-12), 3, None),
        "as a host does": (sampler(device, digits, x, as_host=True, jvp="finite-difference"), 1, None),
    }


@check("one step waits for the device once")
def waits(device: torch.device) -> Figures:
    """Fetching the K x K problem is one copy to the host. On the CPU only ``.item()`` can be counted."""
    figures = {}
    for name, (sample, copies, all_waits) in sampled_cases(device).items():
        try:
            sample(MANY)
        except NotImplementedError:
            continue  # no forward mode through fused attention in this release
        few, many = (trace(lambda sample=sample, steps=steps: sample(steps)) for steps in (FEW, MANY))

        def a_step(what: str, few=few, many=many) -> float:
            return (getattr(many, what) - getattr(few, what)) / (MANY - FEW)

        if device.type == "cpu":
            # The solver of the K x K problem adds two of its own, on tensors that are on the CPU anyway.
            figures[f"{name}: numbers fetched"] = Figure(a_step("items"), 2 * copies)
        else:
            figures[f"{name}: copies to the host"] = Figure(a_step("copies_to_host"), copies)
            figures[f"{name}: waits, both ways"] = Figure(a_step("waits"), all_waits)
            figures[f"{name}: no kernel was seen"] = Figure(few.kernels == 0, 0)
            figures[f"{name}: kernels"] = Figure(a_step("kernels"))
    return figures


@check("one step waits for the device once, in the words of PyTorch's sync debug mode")
def waits_by_debug_mode(device: torch.device) -> Figures:
    need_cuda(device)
    figures = {}
    one = torch.ones(1, device=device)
    figures["an .item() is not told"] = Figure(warned_waits(one.item) == 0, 0)
    for name, (sample, _, all_waits) in sampled_cases(device).items():
        try:
            sample(MANY)
        except NotImplementedError:
            continue
        few, many = (warned_waits(lambda sample=sample, steps=steps: sample(steps)) for steps in (FEW, MANY))
        figures[f"{name}: waits, both ways"] = Figure((many - few) / (MANY - FEW), all_waits)
    return figures


@check("memory of the sampler itself, K = 3 and the secant, and none lost")
def memory(device: torch.device) -> Figures:
    """With a model that needs next to none. The basis of K + 1 vectors is the larger part of it."""
    need_cuda(device)
    figures = {}
    x, z = (tensor.to(device).float() for tensor in (normal(4, 4, 256, 256), normal(4, 4, 256, 256, seed=2)))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma[:, None, None, None] ** 2)

    ways = {jvp: {"jvp": jvp} for jvp in JVPS} | {"secant": {"solver": "secant", "eta": 0.3}}

    def sample(way: str) -> None:
        lgs.sample(denoise, x, [2.0, 1.0, 0.5], ways[way], noise=lambda *_: z)

    for way in ways:
        sample(way)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        for _ in range(10):
            sample(way)
        peak = torch.cuda.max_memory_allocated(device) - before
        figures[f"{way}: peak, in units of x"] = Figure(peak / x.nbytes, 20)
        figures[f"{way}: bytes lost in 10 trajectories"] = Figure(torch.cuda.memory_allocated(device) - before, 0)
    return figures
