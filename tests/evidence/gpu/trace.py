"""What the device did meanwhile, as the profiler and PyTorch's own sync debug mode saw it.

Both see the operations that the engine calls from native code as well as Python's.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
"""Categories of a trace's events that are work on a device."""


class Trace:
    """The events of a trace in Chrome's format, counted."""

    def __init__(self, events: list[dict[str, Any]]):
        self.events = [event for event in events if "cat" in event]

    def count(self, categories: tuple[str, ...], *words: str) -> int:
        """Events of these categories whose name holds one of the words (none: every event)."""
        names = [event["name"] for event in self.events if event["cat"] in categories]
        return sum(not words or any(word in name for word in words) for name in names)

    @property
    def kernels(self) -> int:
        return self.count(("kernel",))

    @property
    def copies_to_host(self) -> int:
        return self.count(("gpu_memcpy",), "DtoH")

    @property
    def waits(self) -> int:
        """Calls that wait for a stream, an event or the device; a copy from or to pageable memory is one."""
        return self.count(("cuda_runtime", "cuda_driver"), "Synchronize")

    @property
    def items(self) -> int:
        """Numbers that were fetched from a tensor one by one: each is a wait where the tensor is on a GPU."""
        return self.count(("cpu_op",), "aten::_local_scalar_dense")

    @property
    def streams(self) -> Counter[tuple[int, int]]:
        """How much was done on each stream: (device, CUPTI's number of the stream)."""
        places = [event["args"] for event in self.events if event["cat"] in ON_DEVICE]
        return Counter((place["device"], place["stream"]) for place in places)


def trace(work: Callable[[], object]) -> Trace:
    """Does the work under the profiler."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        return Trace(json.loads(file.read_text())["traceEvents"])


SYNCHRONIZES = "called a synchronizing CUDA operation"


def warned_waits(work: Callable[[], object]) -> int:
    """How often PyTorch itself says that the work waited for the device, in either direction.

    What Python calls warns in Python; what native code calls warns on the standard error stream.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        os.dup2(file.fileno(), 2)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        in_native_code = file.read().count(SYNCHRONIZES.encode())
        return in_native_code + sum(SYNCHRONIZES in str(warning.message) for warning in warned)
