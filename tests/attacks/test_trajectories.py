"""Trajectories that are let go of, broken off, forked or driven from within: nothing hangs, crashes or is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import interruptible
import psutil
import pytest
import torch

import lgs
from lgs._ffi.raw import trim
from own_threads import none_left

SIGMAS = [10.0, 5.0, 2.5, 1.0, 0.4, 0.1, 0.0]
SECANT, WITH_NOISE, ISOTROPIC = {"solver": "secant"}, {"solver": "secant", "eta": 0.5}, {"covariance": "isotropic"}
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 10


def shrink(x, sigma):
    return x / (1 + sigma.view(-1, *[1] * (x.ndim - 1)) ** 2)


def driven(options, **callbacks):
    with lgs.Trajectory(X, SIGMAS, options, **callbacks) as trajectory:
        while not trajectory.done:
            trajectory.advance(shrink(trajectory.x, trajectory.sigma))
    return trajectory.result


def usable():
    none_left()
    assert torch.equal(driven(SECANT), lgs.sample(shrink, X, SIGMAS, SECANT))


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit])
@pytest.mark.parametrize("where", ["noise", "callback"])
def test_what_is_raised_in_its_callbacks_comes_out_as_the_same_object(kind: type, where: str):
    error = kind("from the host")

    def fail(*_):
        raise error

    with pytest.raises(kind) as caught:
        driven(ISOTROPIC, **{where: fail})
    assert caught.value is error
    usable()


def test_a_callback_cannot_drive_its_own_trajectory():
    def callback(progress):
        trajectory.advance(progress["x"])

    trajectory = lgs.Trajectory(X, SIGMAS, SECANT, callback=callback)
    with pytest.raises(lgs.InvalidArgument, match="expected one caller at a time"):
        for _ in range(2):
            trajectory.advance(trajectory.x)
    usable()


def test_it_can_be_closed_in_its_own_callback():
    trajectory = lgs.Trajectory(X, SIGMAS, SECANT, callback=lambda _: trajectory.close())
    with pytest.raises(lgs.InvalidArgument, match="got one that is closed"):
        for _ in range(2):
            trajectory.advance(trajectory.x)
    usable()


def test_an_abandoned_one_is_freed_at_once_with_all_that_it_holds():
    """Without the garbage collector, which may not come for long."""
    noise = lambda *_: torch.ones_like(X)  # noqa: E731
    trajectory = lgs.Trajectory(X, SIGMAS, WITH_NOISE, noise=noise)
    trajectory.advance(trajectory.x)
    references = [weakref.ref(thing) for thing in (trajectory, trajectory.x, noise)]
    del trajectory, noise
    assert [reference() for reference in references] == [None] * 3
    usable()


def test_a_forked_process_is_told():
    if not hasattr(os, "fork"):
        pytest.skip("there are no forks on this system")
    code = f"""
import os, torch, lgs
x = torch.ones(1, 4)
trajectory = lgs.Trajectory(x, {SIGMAS}, {{"solver": "secant"}})
child = os.fork()
if not child:
    try:
        trajectory.advance(x)
    except lgs.InvalidArgument as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
while not trajectory.done:
    trajectory.advance(trajectory.x)
print("done")
"""
    came = run_alone(code)
    assert "got one that was forked from it since" in came and "Make a trajectory in each process" in came
    assert came.endswith("done\n")


@pytest.mark.parametrize("end", ["", "raise SystemExit", "raise KeyboardInterrupt", "del trajectory"])
def test_python_ends_with_one_under_way(end: str):
    """And does not wait for it, nor end in a crash of native code whose thread was taken away."""
    code = f"""
import torch, lgs
trajectory = lgs.Trajectory(torch.ones(1, 4), {SIGMAS}, {{"solver": "secant"}})
trajectory.advance(trajectory.x)
print("ending", flush=True)
{end}
"""
    assert run_alone(code, 1 if "Keyboard" in end else 0) == "ending\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are raised in another way there")
def test_python_ends_while_one_is_at_work():
    """Native code that wants to call back into a Python that has ended would take the process down."""
    code = """
import os, signal, threading, torch, lgs
signal.signal(signal.SIGINT, signal.default_int_handler)
trajectory = lgs.Trajectory(torch.ones(1, 16, 256, 256), [0.99**i for i in range(1000)], {"solver": "secant"})
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
print("ending", flush=True)
while True:  # nearly all of the time the sampler is at work
    trajectory.advance(trajectory.x)
"""
    assert run_alone(code, 1) == "ending\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are raised in another way there")
def test_ctrl_c_at_any_moment_ends_it_and_nothing_else():
    """In the middle of the sampler's work, between question and answer, or in the model."""
    x = torch.randn(2, 4, 128, 128, generator=torch.Generator().manual_seed(0)) * 10
    stopped = 0
    with interruptible.here():
        for number in range(40):
            timer = threading.Timer(0.001 * number, os.kill, (os.getpid(), signal.SIGINT))
            try:
                trajectory = lgs.Trajectory(x, SIGMAS, WITH_NOISE)
                timer.start()
                while not trajectory.done:
                    trajectory.advance(shrink(trajectory.x, trajectory.sigma))
                while timer.is_alive():
                    time.sleep(0.001)
                time.sleep(0.1)  # in which the signal comes, if it has not
            except KeyboardInterrupt:
                stopped += 1
            if not trajectory.done:
                try:  # as far as it came, it goes on or says that it is closed
                    trajectory.advance(shrink(trajectory.x, trajectory.sigma))
                except lgs.InvalidArgument as error:
                    assert "got one that is closed" in str(error)
            trajectory = None
    assert stopped == 40
    usable()


def test_hundreds_leave_no_memory_behind():
    """Some driven to the end, some let go of in the middle."""
    process = psutil.Process()
    x = X.repeat(1, 1, 8, 8)

    def run(count: int) -> int:
        for number in range(count):
            trajectory = lgs.Trajectory(x, SIGMAS, SECANT)
            while not trajectory.done and (number % 2 or trajectory.level > 1):
                trajectory.advance(shrink(trajectory.x, trajectory.sigma))
        del trajectory
        none_left()
        trim()
        return process.memory_info().rss

    before = run(10)
    assert run(120) - before < 8e6  # 100 kB for each tensor that is kept


def run_alone(code: str, status: int = 0) -> str:
    environment = os.environ | {"PYTHONPATH": str(Path(lgs.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    expected = {0: (0,), 1: (1, 130, -2)}[status]
    assert done.returncode in expected, (done.returncode, done.stderr)
    return done.stdout
