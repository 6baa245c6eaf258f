"""What forward mode through attention costs, beside the fused kernel that gives the output alone.

"ours" is what a dual evaluation gets, output and tangent; "math kernel" is PyTorch's own forward mode.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from evidence.report.run import Findings, Numbers, Run, Section, Table
from lgs._torch.attention import DifferentiableAttention

try:
    from jvp_flash_attention.jvp_attention import JVPAttn
except ImportError:
    JVPAttn = None

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPE = torch.bfloat16 if DEVICE == "cuda" else torch.float32

CASES = {
    "1024 tokens": (1024, 1024),
    "4096 tokens": (4096, 4096),
    "4096 tokens on a constant prompt of 77": (4096, 77),
}
"""Queries and keys; batch 1, 8 heads, d = 64."""


def attention_cost(rounds: int) -> list[dict]:
    """A row for each case and way: the ratio to the fused kernel's time, and the most memory held on top of the inputs.

    The two are timed in turn; the ratio is the median of the pairs'. What is not available has a ``note`` instead.
    """
    rows = []
    with torch.no_grad(), forward_ad.dual_level():
        for case, (queries, keys) in CASES.items():
            shapes = (1, 8, queries, 64), (1, 8, keys, 64), (1, 8, keys, 64)
            values, tangents = ([torch.randn(s, device=DEVICE, dtype=DTYPE) for s in shapes] for _ in range(2))
            if queries != keys:
                tangents[1:] = None, None
            duals = [t if d is None else forward_ad.make_dual(t, d) for t, d in zip(values, tangents, strict=True)]
            fused = _run(F.scaled_dot_product_attention, values)
            ways = {
                "fused kernel, output alone": fused,
                "ours": _run(_ours, duals),
                "math kernel": _run(_math, duals),
                "jvp_flash_attention": _run(JVPAttn.fwd_dual, duals) if JVPAttn and DEVICE == "cuda" else None,
            }
            for way, work in ways.items():
                rows.append({"name": f"attention: {case}, {way}", **_compared(work, fused, rounds)})
    return rows


def describe(rows: list[dict]) -> str:
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'':{width}}  time of the fused kernel's     peak, MB"]
    for row in rows:
        figures = row.get("note") or f"{row['ratio']:10.1f} {megabytes(row):>28}"
        lines.append(f"{row['name']:{width}}  {figures}")
    return "\n".join(lines)


def megabytes(row: dict) -> str:
    return "" if row["peak_megabytes"] is None else f"{row['peak_megabytes']:.0f}"


def _ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with DifferentiableAttention():
        return F.scaled_dot_product_attention(q, k, v)


def _math(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, k, v)


def _run(attention: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], None]:
    def work() -> None:
        attention(*inputs)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return work


def _compared(work: Callable[[], None] | None, other: Callable[[], None], rounds: int) -> dict:
    if work is None:
        return {"note": "needs CUDA and the package jvp_flash_attention"}
    try:
        work(), other()
    except (RuntimeError, ValueError, AssertionError) as error:
        return {"note": f"{type(error).__name__}: {error}".splitlines()[0]}
    pairs = [(_seconds(work), _seconds(other)) for _ in range(rounds)]
    peak = _peak_bytes(work)
    ratio = statistics.median(a / b for a, b in pairs)
    return {"ratio": ratio, "peak_megabytes": None if peak is None else peak / 1e6}


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak_bytes(work: Callable[[], None]) -> float | None:
    """The most that is held at a time; on the CPU, of the process, and only where that can be asked for (Linux)."""
    if DEVICE == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
    process = Path("/proc/self")
    if not (process / "clear_refs").exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed before is used again, and does not show
    (process / "clear_refs").write_text("5")  # the high-water mark starts again from here
    before = _resident(process, "VmRSS")
    work()
    return _resident(process, "VmHWM") - before


def _resident(process: Path, name: str) -> float:
    lines = (process / "status").read_text().splitlines()
    return 1024 * float(next(line for line in lines if line.startswith(name)).split()[1])


def measure(run: Run) -> Numbers:
    return {"rows": attention_cost(1 if run.quick else 5)}


def show(numbers: Numbers, folder: Path) -> Findings:
    rows = [
        (row["name"].removeprefix("attention: "), row["note"], "")
        if "note" in row
        else (row["name"].removeprefix("attention: "), f"{row['ratio']:.1f}", megabytes(row))
        for row in numbers["rows"]
    ]
    return Findings([], [], [Table("Forward mode through attention", ("", "times the fused kernel", "peak, MB"), rows)])


SECTION = Section(
    "attention",
    "Forward mode through attention",
    "What do output and tangent cost, beside the fused kernel that gives the output alone?",
    measure,
    show,
)
