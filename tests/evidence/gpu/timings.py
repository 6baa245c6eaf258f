"""What a step and a trajectory cost, in units of bare evaluations of the same model.

Two things are timed in turn and the median of the ratios of neighbouring runs is what counts: clocks
and temperatures move. The networks compute in bfloat16 under x in float32, in inference mode, as in
ComfyUI.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

import lgs

from . import unet
from .denoisers import LatentDiffusion
from .record import told

SIGMAS = (14.6, 6.0, 2.5, 1.0, 0.3, 0.0)
"""A trajectory."""

STEP = (2.5, 1.0)
"""One step of it."""


class Model(NamedTuple):
    name: str
    config: unet.Config
    size: int
    """Height and width of a latent."""
    trajectory: bool
    """Whether whole trajectories are timed too."""


FULL = (Model("SD1.5", unet.SD15, 64, False), Model("SDXL", unet.SDXL, 128, True))
SMALL = (Model("SD1.5, small", unet.SMALL_SD15, 8, False), Model("SDXL, small", unet.SMALL_SDXL, 8, True))


class Effort(NamedTuple):
    rounds: int
    """Pairs of runs, where time allows; else 3."""
    seconds: float
    """Time for the pairs of one row, its first runs not counted."""
    batches: tuple[int, int]
    """Sizes."""


@torch.inference_mode()
def timings(device: torch.device, models: tuple[Model, ...], effort: Effort) -> Iterator[dict[str, Any]]:
    """The rows, each as soon as it is there."""
    for model in models:
        try:
            denoise = LatentDiffusion(model.config, device, torch.bfloat16)
        except torch.OutOfMemoryError as problem:
            yield failure(f"{model.name}: its weights", problem)
            continue
        for batch in effort.batches:
            yield from model_timings(denoise, model, batch, device, effort)
        del denoise
        free(device)


def model_timings(
    denoise: LatentDiffusion, model: Model, batch: int, device: torch.device, effort: Effort
) -> Iterator[dict[str, Any]]:
    """The rows of one model at one batch size."""
    shape = (batch, unet.LATENT, model.size, model.size)
    generator = torch.Generator(device).manual_seed(0)
    n, z = (torch.randn(shape, generator=generator, device=device) for _ in range(2))
    sigma = n.new_full((batch,), STEP[0])
    title = f"{model.name}, {batch} x {model.size} x {model.size}"

    def row(name: str, ours: Callable, other: Callable, bound: float | None = None, **about) -> dict[str, Any]:
        about = {"name": f"{title}: {name}", "model": model.name, "latent": list(shape), "dtype": "bfloat16", **about}
        about["parameters"] = denoise.parameters
        free(device)
        try:
            return {**about, "status": "PASS", **side_by_side(ours, other, device, effort), "bound": bound}
        except Exception as problem:
            return {**about, **failure(about["name"], problem)}

    def bare() -> None:
        denoise(n * STEP[0], sigma)

    yield row("bare evaluation / another", bare, bare, what="bare")
    for jvp in ("finite-difference", "forward"):
        for steps in (2, 3):
            options = lgs.Options(jvp=jvp, lanczos_steps=steps, precision="bfloat16")

            def step(options=options) -> None:
                lgs.sample(denoise, n * STEP[0], STEP, options, noise=lambda *_: z)

            about = {"what": "step", "jvp": jvp, "lanczos_steps": steps}
            yield row(f"step, K = {steps}, {jvp} / bare evaluation", step, bare, **about)
    if not model.trajectory:
        return

    options = lgs.Options(jvp="finite-difference", lanczos_steps=3, precision="bfloat16")
    points: list[tuple[Tensor, Tensor]] = []

    def recorded(x: Tensor, sigma: Tensor) -> Tensor:
        # A call with several batches in one counts as so many evaluations.
        points.extend(zip(x.clone().split(batch), sigma.clone().split(batch), strict=True))
        return denoise(x, sigma)

    def trajectory(denoise: Callable = denoise) -> None:
        lgs.sample(denoise, n * SIGMAS[0], SIGMAS, options, noise=lambda *_: z)

    def evaluations() -> None:
        for point in points:
            denoise(*point)

    try:
        trajectory(recorded)
    except Exception as problem:
        yield failure(f"{title}: trajectory", problem)
        return
    name = f"trajectory, {len(SIGMAS) - 1} steps, K = 3, finite-difference / {len(points)} bare evaluations"
    about = {"what": "trajectory", "jvp": "finite-difference", "lanczos_steps": 3, "evaluations": len(points)}
    # Long runs, and a bound to be told from 1: more time.
    effort = effort._replace(seconds=3 * effort.seconds)
    yield row(name, trajectory, evaluations, bound=1.01, **about)


def side_by_side(ours: Callable, other: Callable, device: torch.device, effort: Effort) -> dict[str, Any]:
    """Both in turn: the ratios' median and quartiles, milliseconds, and the memory taken beyond what
    was there."""
    # First runs load kernels, and the product learns what suits the model.
    other()
    peak_other = peak_mib(other, device)
    ours()
    peak = peak_mib(ours, device)
    pairs: list[tuple[float, float]] = []
    end = time.monotonic() + effort.seconds
    while len(pairs) < effort.rounds and (len(pairs) < 3 or time.monotonic() < end):
        pairs.append((seconds(ours, device), seconds(other, device)))
    low, median, high = statistics.quantiles([a / b for a, b in pairs], n=4, method="inclusive")
    return {
        "ratio": median,
        "quartiles": [low, high],
        "rounds": len(pairs),
        "ms": 1e3 * statistics.median(a for a, _ in pairs),
        "ms_other": 1e3 * statistics.median(b for _, b in pairs),
        "peak_mib": peak,
        "peak_mib_other": peak_other,
    }


def seconds(work: Callable, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mib(work: Callable, device: torch.device) -> float | None:
    if device.type != "cuda":
        work()
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def failure(name: str, problem: BaseException) -> dict[str, Any]:
    """The row of what could not be timed. Too little memory and an operation that has no derivative are
    results, anything else is a fault."""
    status = "SKIP" if isinstance(problem, NotImplementedError) else "FAIL"
    if "out of memory" in str(problem).lower():
        status = "OOM"
    return {"name": name, "status": status, **told(problem)}


def describe(row: dict[str, Any]) -> str:
    """A line of the progress."""
    if row["status"] != "PASS":
        return f"{row['status']}  {row['name']}: {row['message']}"
    low, high = row["quartiles"]
    line = f"{row['ratio']:6.3f} ({low:.3f} - {high:.3f})  {row['ms']:8.1f} ms / {row['ms_other']:.1f} ms"
    if row["peak_mib"] is not None:
        line += f", peak {row['peak_mib']:.0f} MiB / {row['peak_mib_other']:.0f} MiB"
    bound = "" if row["bound"] is None else f" (bound {row['bound']:g})"
    return f"{row['name']}\n      {line}, {row['rounds']} rounds{bound}"


def table(rows: list[dict[str, Any]]) -> str:
    """All rows in Markdown."""
    lines = ["| | ratio (quartiles) | ms | peak MiB, beyond the weights |", "| --- | --- | --- | --- |"]
    for row in rows:
        if row["status"] == "PASS":
            low, high = row["quartiles"]
            peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
            lines.append(f"| {row['name']} | {row['ratio']:.3f} ({low:.3f}–{high:.3f}) | {row['ms']:.1f} | {peak} |")
        else:
            lines.append(f"| {row['name']} | {row['status']} | | |")
    return "\n".join(lines)
