"""What is measured on this machine: service times, the driver's time for a job on Ray, the store's, the plan's."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

import evidence
import lgs
from evidence.models import DIGITS
from evidence.report.run import Unavailable
from evidence.threads import one_thread
from lgs.batch.errors import BatchError
from lgs.batch.plan import Axis, Graph, Job, jobs
from lgs.batch.store import Store, open_store
from lgs.digits import Digits, load_unet

from .sleeping import Sleeping

WORKFLOW = Path(lgs.__file__).parents[1] / "example_workflows" / "api" / "lgs_txt2img.json"
TESTS = Path(evidence.__file__).parents[1]
"""Where actors import `sleeping` from."""
PICTURE_BYTES = 1 << 20
"""Of a stored picture: a PNG of 512 to 1,024 pixels a side has one to two."""
SMALL_BYTES = 20_000
"""Of those that Ray carries when it is the dispatcher that is measured."""


def planned(count: int) -> list[Job]:
    """So many jobs of a workflow for Stable Diffusion 1.5, over seeds."""
    graph: Graph = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    [node] = [node for node, entry in graph.items() if "noise_seed" in entry["inputs"]]
    return jobs(graph, [Axis("noise_seed", node, "noise_seed", tuple(range(count)))])


def service_times(count: int) -> list[float]:
    """Seconds that one core takes for a digit in ten steps, so many times: how pictures of one workflow differ."""
    denoise = Digits(load_unet(DIGITS), torch.tensor([5]))
    sigmas = torch.tensor([20 * (0.03 / 20) ** (step / 9) for step in range(10)] + [0.0])
    times = []
    with one_thread():
        for seed in range(-3, count):  # the first few warm up
            x = sigmas[0] * torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(seed + 3))
            start = time.perf_counter()
            lgs.sample(denoise, x, sigmas, lgs.Options.recommended(pure_noise=True))
            times.append(time.perf_counter() - start)
    return times[3:]


def plan_costs(count: int) -> dict[str, float]:
    """Bytes and seconds for each job of a plan, its id and its prompt's among them."""
    tracemalloc.start()
    kept = planned(count)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    start = time.perf_counter()
    kept = planned(count)
    store = Store(Path(), "00000000-0000-0000-0000-000000000000")
    for job in kept:
        store.prompt_id(job)
    return {"bytes": size / count, "seconds": (time.perf_counter() - start) / count}


def store_costs(count: int, threads: int) -> dict[str, float]:
    """Seconds for each picture of `PICTURE_BYTES` that is kept, and for each that is found done by a later run."""
    contents = [(os.urandom(PICTURE_BYTES), ".png", (512, 512))]
    made = planned(count)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder)) as store,
        ThreadPoolExecutor(threads) as pool,
    ):
        start = time.perf_counter()
        list(pool.map(lambda job: store.keep(job, contents, 1.0), made))
        kept = time.perf_counter()
        assert all(store.done(job) for job in made)
        return {"keep": (kept - start) / count, "found": (time.perf_counter() - kept) / count}


class OnRay:
    """Batches through the real dispatcher, actors and store; actors take a hundredth of a processor each."""

    def __init__(self):
        try:
            from lgs.batch.cluster.connection import EMBEDDED, connected
        except ImportError as error:
            raise Unavailable("Ray: pip install ray==2.60.0") from error
        self._connected = connected(EMBEDDED, TESTS)

    def __enter__(self) -> OnRay:
        self._connected.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._connected.__exit__(*error)

    def run(self, workers: int, count: int, seconds: list[float], size: int) -> dict[str, float]:
        """Runs so many jobs; gives seconds, from the moment when all workers have started, for the whole and for the
        driver's process alone, and checks that each picture is there once."""
        from lgs.batch.cluster.workers import starter
        from lgs.batch.dispatch.run import dispatch

        with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
            start = starter(Sleeping, lambda place: (seconds, size), {"num_cpus": 0.01}, store.prompt_id)

            async def batch() -> tuple[float, float]:
                ready = dict(enumerate(await asyncio.gather(*(start(place) for place in range(workers)))))

                async def take(place: int):
                    return ready.pop(place) if place in ready else await start(place)

                began, cpu = time.perf_counter(), time.process_time()
                if aside := await dispatch(take, workers, planned(count), store):
                    raise BatchError(str(aside[0]))
                return time.perf_counter() - began, time.process_time() - cpu

            taken, cpu = asyncio.run(batch())
            numbers = {int.from_bytes(file.read_bytes()[:8]) for file in (store.folder / "pictures").iterdir()}
            if numbers != set(range(1, count + 1)) or len(list((store.folder / "jobs").iterdir())) != count:
                raise BatchError(f"expected {count} pictures, once each, got {len(numbers)}")
        return {"workers": workers, "jobs": count, "seconds": taken, "driver_seconds": cpu, "bytes": size}


def spread(times: list[float]) -> list[float]:
    """The times as parts of their mean."""
    mean = statistics.fmean(times)
    return [seconds / mean for seconds in times]
