"""Threads, forks, signals, and what is kept of calls that are over."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable

import torch

from .._ffi import FAIL, STOP
from .._ffi.raw import Odd, levels, raw_call, trim
from .check import Checks, NotHere, expect
from .engine import call, sampled, scripted
from .gaussian import BATCH, SIGMAS, D, normal
from .memory import resident
from .subject import Installation

checks = Checks()
WAYS = ("forward", "finite-difference")


def in_threads(lane: Callable[[int], None], count: int = 8) -> None:
    """Runs ``lane(number)`` in so many threads at once; what one raises is a violation, as is one that does not end."""
    problems = []

    def run(number: int) -> None:
        try:
            lane(number)
        except BaseException as problem:
            problems.append(f"thread {number}: {problem}")

    running = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    expect(not any(thread.is_alive() for thread in running), "expected every thread to end")
    expect(not problems, "; ".join(problems))


@checks("threads.calls", "Calls on several threads do not meet: each result is that of a call alone.")
def threads(subject: Installation) -> None:
    def run(seed: int) -> torch.Tensor:
        options = {"jvp": WAYS[seed % 2], "lanczos_steps": 2}
        return sampled(subject, scripted(subject), options, normal(BATCH, D, seed=seed))

    expected = [run(seed) for seed in range(8)]

    def lane(seed: int) -> None:
        for _ in range(10):
            expect(torch.equal(run(seed), expected[seed]), "expected the same bits as alone")

    in_threads(lane)


@checks("threads.engines", "An engine can be opened, asked and closed on several threads at once.")
def engines(subject: Installation) -> None:
    info = subject.engine.info()

    def lane(_: int) -> None:
        for _ in range(20):
            expect(Installation(subject.library, subject.manifest).engine.info() == info, "expected the same engine")

    in_threads(lane)


@checks("processes.fork", "A child of fork can sample and open engines, also while its parent's other threads sample.")
def forks(subject: Installation) -> None:
    if not hasattr(os, "fork"):
        raise NotHere("this system has no fork")
    x, options = normal(BATCH, D), {"jvp": "forward", "lanczos_steps": 2}
    expected, ending, problems = sampled(subject, scripted(subject), options, x), threading.Event(), []

    def busy() -> None:
        while not ending.is_set():
            try:
                sampled(subject, scripted(subject), options, x)
            except BaseException as problem:
                problems.append(str(problem))

    thread = threading.Thread(target=busy, daemon=True)
    thread.start()
    try:
        for _ in range(8):
            child = os.fork()
            if not child:
                signal.alarm(20)
                try:
                    came = sampled(subject, scripted(subject), options, x)
                    Installation(subject.library, subject.manifest).engine.info()
                    os._exit(0 if torch.equal(came, expected) else 3)
                finally:
                    os._exit(5)  # nothing of the parent's goes on here
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            expect(code != -signal.SIGALRM, "the child: hung")
            expect(code != 3, "the child: expected equal bits")
            expect(code == 0, f"the child: ended with status {code}")
    finally:
        ending.set()
        thread.join(20)
    expect(not problems, f"the parent: {'; '.join(problems[:3])}")


def _in_use() -> int:
    """Bytes in memory, without what is free and kept for later: in that, what was lost would not show."""
    trim()
    return resident()


@checks("memory.calls", "Nothing is kept of a call that is over, whether it ends well or not.")
def memory(subject: Installation) -> None:
    if resident() is None:
        raise NotHere("this system does not say how much memory a process uses")
    wide, runs, mib = 1 << 17, 32, 1 << 20
    x = torch.ones(BATCH, wide, dtype=torch.float64)
    options = {"lanczos_steps": 1, "jvp": "finite-difference"}

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x / (1 + sigma[:, None] ** 2)

    for fails in (False, True):
        before = 0
        for run in range(runs):
            host = scripted(subject, model)
            host.noise = lambda _sigma, _below: torch.ones_like(x)
            if fails:
                # What is stored with a failure is the library's to give back.
                host.odd = Odd("denoise", 2, (FAIL, STOP)[run % 2], lambda: torch.ones_like(x))
            came = call(subject, "sample", host, options, x, *levels(*SIGMAS))
            expect((came.status == 0) != fails, f"status {came.status}: {came.message}")
            if not fails:
                subject.library.api.tensor_delete(subject.engine.handle, came.outs[0])
            del host
            gc.collect()  # the host's own callbacks refer to it
            if run == runs // 4:
                before = _in_use()
        grown = (_in_use() - before) / mib
        what = "calls that fail" if fails else "calls"
        # One tensor of 2 MiB that is lost in each run comes to 48.
        expect(grown < runs, f"{what}: expected memory to stay as it is, got {grown:.0f} MiB more")


@checks("memory.texts", "Errors and texts are gone once they are given back.")
def texts(subject: Installation) -> None:
    if resident() is None:
        raise NotHere("this system does not say how much memory a process uses")
    before, api = 0, subject.library.api
    for run in range(60_000):
        api.string_delete(raw_call(subject.library, "options_check", None).outs[0])
        raw_call(subject.library, "options_check", b'{"eta": 2}')
        if run == 10_000:
            before = _in_use()
    grown = (_in_use() - before) / 1024
    expect(grown < 2048, f"expected memory to stay as it is, got {grown:.0f} KiB more")


@checks("processes.signals", "A signal that the host handles does not disturb a call.")
def signals(subject: Installation) -> None:
    if not hasattr(signal, "setitimer") or sys.platform == "win32":
        raise NotHere("this system has no interval timer")
    expected = sampled(subject, scripted(subject), {"jvp": "finite-difference"}, normal(BATCH, D))
    delivered = []
    previous = signal.signal(signal.SIGPROF, lambda *_: delivered.append(None))
    signal.setitimer(signal.ITIMER_PROF, 5e-4, 5e-4)
    try:
        while len(delivered) < 50:
            came = sampled(subject, scripted(subject), {"jvp": "finite-difference"}, normal(BATCH, D))
            expect(torch.equal(came, expected), "expected equal bits")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
