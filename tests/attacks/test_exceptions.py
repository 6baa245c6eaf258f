"""What is raised inside a callback comes out as the same object, and leaves nothing behind."""

import gc
import signal
import sys
import threading
import weakref

import pytest
import torch
from torch.overrides import _get_current_function_mode_stack

import lgs

SIGMAS = [5.0, 2.0, 1.0, 0.5, 0.0]


class HostInterrupt(Exception):
    """As ComfyUI's: an ordinary Exception that must not be taken for a model that cannot do
    forward mode."""


class Odd(BaseException):
    """Not an Exception at all."""


def shrink(x, sigma):
    return x / (1 + sigma.reshape(-1, *[1] * (x.ndim - 1)) ** 2)


def works_again():
    x = torch.randn(2, 8)
    assert torch.isfinite(lgs.sample(shrink, x, SIGMAS)).all()
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    assert not _get_current_function_mode_stack()
    with torch.autograd.forward_ad.dual_level():
        pass  # none was left open


ERRORS = [
    ValueError,
    RuntimeError,
    NotImplementedError,
    KeyboardInterrupt,
    SystemExit,
    HostInterrupt,
    Odd,
    StopIteration,
]


@pytest.mark.parametrize("jvp", ["auto", "forward", "finite-difference"])
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("at", [0, 1, 4])
def test_from_the_model(kind, jvp, at):
    error = kind("from the model")
    calls = 0

    def denoise(x, sigma):
        nonlocal calls
        calls += 1
        if calls > at:
            raise error
        return shrink(x, sigma)

    with pytest.raises(kind) as caught:
        lgs.sample(denoise, torch.randn(2, 8), SIGMAS, {"jvp": jvp, "lanczos_steps": 2})
    assert caught.value is error
    frames = []
    traceback = caught.value.__traceback__
    while traceback:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert "denoise" in frames, "the traceback leads to where it was raised"
    # Only what can mean "no forward mode" is tried again, and once.
    assert calls <= at + (2 if issubclass(kind, RuntimeError) and jvp == "auto" else 1)
    works_again()


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("where", ["noise", "callback"])
def test_from_the_noise_sampler_and_the_callback(kind, where):
    error = kind("from the host")

    def fail(*_):
        raise error

    with pytest.raises(kind) as caught:
        lgs.sample(shrink, torch.randn(2, 8), SIGMAS, **{where: fail})
    assert caught.value is error
    works_again()


def test_nothing_is_kept_of_a_call_that_failed():
    class Model:
        def __call__(self, x, sigma):
            self.seen = x
            raise ValueError("no")

    model = Model()
    model_ref = weakref.ref(model)
    x = torch.randn(2, 8)
    for _ in range(2):
        try:
            lgs.sample(model, x, SIGMAS)
        except ValueError:
            pass
    tensor_ref = weakref.ref(model.seen)
    del model
    gc.disable()
    try:
        assert model_ref() is None and tensor_ref() is None, "freed without the garbage collector"
    finally:
        gc.enable()


def test_a_sampler_inside_a_sampler_that_is_differentiated():
    """Forward mode does not nest: the inner sampler takes finite differences, and nothing waits for
    itself."""
    inner = []

    def denoise(x, sigma):
        if not inner:
            inner.append(None)
            inner[0] = lgs.sample(shrink, torch.ones(2, 8), [1.0, 0.5], noise=lambda *_: torch.ones(2, 8))
        return shrink(x, sigma)

    seen = []
    lgs.sample(denoise, torch.randn(2, 8), SIGMAS, {"jvp": "forward"}, callback=seen.append)
    assert seen[0]["jvp"] == "forward" and len(inner) == 1
    expected = lgs.sample(shrink, torch.ones(2, 8), [1.0, 0.5], noise=lambda *_: torch.ones(2, 8))
    torch.testing.assert_close(inner[0], expected, rtol=1e-3, atol=1e-3)


def test_a_sampler_inside_a_sampler():
    """A model that samples (a cascade, a hook): calls nest, and an inner failure is the outer's."""
    inner = HostInterrupt()
    depth = 0

    def denoise(x, sigma):
        nonlocal depth
        depth += 1
        if depth == 1:
            lgs.sample(denoise, x.detach(), [1.0, 0.5, 0.0], {"covariance": "isotropic"})
        if depth == 4:
            raise inner
        return shrink(x, sigma)

    with pytest.raises(HostInterrupt) as caught:
        lgs.sample(denoise, torch.randn(2, 8), SIGMAS, {"jvp": "finite-difference"})
    assert caught.value is inner
    works_again()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer")
@pytest.mark.filterwarnings("error")
def test_a_signal_at_any_moment_is_not_lost(capfd):
    """Ctrl-C can arrive while native code runs; Python then raises it at the start of a callback,
    before that can catch it. Many moments are tried."""
    x = torch.randn(4, 4096)
    error = None

    def raise_it(*_):
        nonlocal error
        error = HostInterrupt()
        raise error

    # What torch imports when it is first needed is not ours to interrupt.
    lgs.sample(shrink, x, [5.0, 0.5, 0.0], {"jvp": "forward"})
    previous = signal.signal(signal.SIGALRM, raise_it)
    caught = 0
    try:
        for attempt in range(300):
            error = None
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + attempt * 1e-5)
                lgs.sample(
                    shrink, x, [5.0, 3.0, 2.0, 1.0, 0.5, 0.0], {"jvp": ("auto", "finite-difference")[attempt % 2]}
                )
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert error is None, "a signal was delivered, and the call went on"
            except HostInterrupt as interrupt:
                assert interrupt is error
                caught += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert caught > 50
    assert "Exception ignored" not in capfd.readouterr().err
    assert sys.unraisablehook is not None
    works_again()


def test_threads_do_not_meet():
    """Two trajectories at once, one of which fails: each gets its own outcome."""
    outcomes = {}

    def run(name, fails):
        error = ValueError(name)

        def denoise(x, sigma):
            if fails and sigma[0] < 1:
                raise error
            return shrink(x, sigma)

        try:
            options = {"jvp": "forward"}  # auto goes by time, which is another for each thread
            x = torch.ones(2, 64)
            outcomes[name] = lgs.sample(denoise, x, SIGMAS, options, noise=lambda *_: torch.ones(2, 64))
        except ValueError as caught:
            outcomes[name] = caught is error

    threads = [threading.Thread(target=run, args=(str(i), i % 2)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(outcomes[str(i)] is True for i in (1, 3, 5, 7))
    assert all(torch.equal(outcomes[str(i)], outcomes["0"]) for i in (2, 4, 6))
