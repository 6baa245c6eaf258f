"""A thousand trajectories leave no tensor and no memory behind."""

import gc
import itertools

import psutil
import pytest
import torch

import lgs
from lgs._ffi.raw import trim


def live_tensors() -> int:
    gc.collect()
    return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())


def in_use(process: psutil.Process) -> int:
    """Bytes in memory, without what is free and kept for later, which differs with the tests that came before."""
    trim()
    return process.memory_info().rss


def trajectories(kind: str):
    """Endless trajectories: good ones, or ones that fail at some point, each way of differentiating."""
    calls = itertools.count(1)

    def denoise(x, sigma):
        if kind == "failing" and next(calls) % 7 == 0:
            raise ValueError("now and then")
        return x / (1 + sigma[:, None, None, None] ** 2)

    for i in itertools.count():
        # 4 MB each, so that a single tensor kept of each trajectory shows at once.
        x = torch.randn(4, 4, 256, 256) if i % 10 == 0 else torch.randn(4, 4, 8, 8)
        options = {"lanczos_steps": 2, "jvp": ("forward", "finite-difference")[i % 2]}
        with torch.inference_mode(i % 3 == 0):
            try:
                lgs.sample(denoise, x, [5.0, 1.0, 0.0], options, callback=lambda progress: None)
            except ValueError:
                assert kind == "failing"
        yield


@pytest.mark.parametrize("kind", ["good", "failing"])
def test_a_thousand_trajectories(kind):
    process = psutil.Process()
    runs = trajectories(kind)
    for _ in range(10):
        next(runs)
    tensors, memory = live_tensors(), in_use(process)
    for _ in range(1000):
        next(runs)
    assert live_tensors() <= tensors  # those of earlier tests may go meanwhile
    # 100 of the trajectories are over tensors of 4 MB; the allocator may keep a few of them.
    assert in_use(process) - memory < 40e6
