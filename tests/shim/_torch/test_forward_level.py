"""Torch has one level of forward mode for all threads of a process: who waits for it, and what a passing failure of it
leaves behind, which is nothing."""

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch.autograd import forward_ad

import lgs
from lgs._torch.forward_ad import PATIENCE, ForwardLevel, InUse

from .. import assembled

X = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
SIGMAS = [2.0, 1.0, 0.5, 0.0]


class Shrink:
    """A model that is an object, so that what is found out about it can be kept."""

    def __call__(self, x, sigma):
        return x / (1 + sigma[:, None] ** 2)


def products(model, options=None, package=lgs):
    """By which way they were computed, step by step."""
    seen = []
    package.sample(model, X, SIGMAS, {"lanczos_steps": 1} | (options or {}), callback=seen.append)
    return [step["jvp"] for step in seen[:-1]]


@pytest.fixture
def another_copy(tmp_path):
    """The package and its libraries once more, as where a pack and a wheel are in one process."""
    shutil.copytree(assembled.FOLDER / "lgs", tmp_path / "lgs")
    shutil.copytree(assembled.FOLDER / "bin", tmp_path / "bin")
    package = tmp_path / "lgs"
    spec = importlib.util.spec_from_file_location(
        "lgs_copy", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    module = sys.modules["lgs_copy"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in [name for name in sys.modules if name.split(".")[0] == "lgs_copy"]:
        del sys.modules[name]


class Slow(Shrink):
    def __call__(self, x, sigma):
        time.sleep(0.005)
        return super().__call__(x, sigma)


def test_two_copies_in_four_threads_wait_for_each_other(another_copy):
    ways, errors = [], []

    def work(package):
        try:
            for _ in range(4):
                ways.extend(products(Slow(), {"jvp": "forward"}, package))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(package,)) for package in (lgs, another_copy) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(ways) == 4 * 4 * 2 and set(ways) == {"forward"}


def test_a_sampler_of_another_copy_inside_one_that_is_differentiated(another_copy):
    """It cannot wait for itself: the inner one takes differences, for now."""
    model, inner = Shrink(), []

    def denoise(x, sigma):
        if not inner:
            inner.append(None)
            inner[0] = products(model, package=another_copy)
        return model(x, sigma)

    assert set(products(denoise, {"jvp": "forward"})) == {"forward"}
    assert set(inner[0]) == {"finite-difference"}
    assert set(products(model, package=another_copy)) == {"forward"}


def test_a_sampler_inside_one_that_is_differentiated_is_held_against_no_model():
    model, inner = Shrink(), []

    def denoise(x, sigma):
        if not inner:
            inner.append(None)
            inner[0] = products(model)
        return model(x, sigma)

    assert set(products(denoise, {"jvp": "forward"})) == {"forward"}
    assert set(inner[0]) == {"finite-difference"}
    assert set(products(model)) == {"forward"}


def test_other_code_s_forward_mode_is_waited_for():
    opened, done = threading.Event(), []

    def other():
        with forward_ad.dual_level():
            opened.set()
            time.sleep(PATIENCE / 8)
            done.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    opened.wait()
    assert set(products(Shrink(), {"jvp": "forward"})) == {"forward"} and done
    thread.join()


def test_this_thread_s_own_forward_mode_cannot_be_waited_for():
    model = Shrink()
    with forward_ad.dual_level():
        with pytest.raises(InUse, match="other code of this process"):
            products(model, {"jvp": "forward"})
        assert set(products(model)) == {"finite-difference"}
    assert set(products(model)) == {"forward"}, "it was remembered"


class OutOfMemoryOnce(Shrink):
    """At the first evaluation of a kind."""

    def __init__(self, when, error):
        self.when, self.error, self.failures = when, error, 0

    def __call__(self, x, sigma):
        if not self.failures and self.when(x):
            self.failures += 1
            raise self.error
        return super().__call__(x, sigma)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes"),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
def test_no_memory_for_forward_mode_is_not_remembered(error):
    model = OutOfMemoryOnce(lambda x: forward_ad.unpack_dual(x).tangent is not None, error)
    assert set(products(model)) == {"finite-difference"} and model.failures == 1
    assert set(products(model)) == {"forward"}


def test_a_failure_that_does_not_pass_is_remembered():
    model = OutOfMemoryOnce(lambda x: forward_ad.unpack_dual(x).tangent is not None, RuntimeError("no formula"))
    assert set(products(model)) == {"finite-difference"} and model.failures == 1
    assert set(products(model)) == {"finite-difference"}


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu"])
def test_no_memory_for_a_doubled_batch_is_not_remembered(error):
    sizes = []

    class Model(OutOfMemoryOnce):
        def __call__(self, x, sigma):
            sizes.append(len(x))
            time.sleep(0.002)  # so that a doubled batch is worth its while
            if forward_ad.unpack_dual(x).tangent is not None:
                raise RuntimeError("no formula")
            return super().__call__(x, sigma)

    model = Model(lambda x: len(x) > len(X), error)
    assert set(products(model)) == {"finite-difference"}
    assert model.failures == 1 and max(sizes[sizes.index(2 * len(X)) + 1 :]) == len(X)
    sizes.clear()
    assert set(products(model)) == {"finite-difference"}
    assert max(sizes) == 2 * len(X), "remembered"


def test_a_level_that_was_refused_holds_nothing():
    with forward_ad.dual_level(), pytest.raises(InUse):
        ForwardLevel().open()
    level = ForwardLevel()
    level.open()
    with pytest.raises(InUse, match="does not nest"):
        ForwardLevel().open()
    assert forward_ad._current_level == 0, "the inner one has closed the outer one's"
    level.close()
    assert forward_ad._current_level == -1


FORK = """
import os, signal, sys, threading
import torch, torch._dynamo
from torch.autograd import forward_ad
import lgs

torch.set_num_threads(1)
x, inside, on = torch.randn(2, 8), threading.Event(), threading.Event()

def shrink(x, sigma):
    return x / (1 + sigma[:, None] ** 2)

def waiting(x, sigma):
    inside.set()
    on.wait()
    return shrink(x, sigma)

def product(model):
    return lgs.jvp(model, x, 1.0, x, {"jvp": "forward"})[1]

expected = product(shrink)
thread = threading.Thread(target=product, args=(waiting,))
thread.start()
inside.wait()
child = os.fork()
if not child:
    signal.alarm(30)
    assert torch._dynamo.eval_frame._stance.stance == "default" and forward_ad._current_level == -1
    assert product(shrink).equal(expected)
    os._exit(0)
status = os.waitpid(child, 0)[1]
assert torch._dynamo.eval_frame._stance.stance == "force_eager" and forward_ad._current_level == 0, "the parent's"
on.set()
thread.join()
assert product(shrink).equal(expected)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork; run it on Linux")
def test_a_child_of_a_fork_does_not_wait_for_its_parent_s_threads():
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
