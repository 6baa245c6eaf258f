"""This package as the host's side: what Python raises, interrupts, tensors that only Python has, and what is left."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .. import errors
from .._ffi import CONTINUE, FAIL, STOP, Choice
from .._ffi.callbacks import HostCall
from .._ffi.header import Progress
from .._ffi.raw import asked, reported
from .._torch.kinds import odd_tensors, outside
from ..sampling import jvp, principal_components, reverse_noise, sample
from .check import Checks, NotHere, expect
from .gaussian import BATCH, SIGMAS, D, GaussianModel, normal
from .subject import Installation
from .together import in_threads

checks = Checks()
MODEL = GaussianModel()


class Interrupt(Exception):
    """As a host's own: an ordinary exception that must not be taken for a model that lacks something."""


class NoException(BaseException):
    """Not even an Exception."""


RAISED = (ValueError, RuntimeError, KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit, Interrupt, NoException)


def settings() -> Iterator[dict]:
    for way in ("auto", "forward", "finite-difference", "central-difference"):
        yield {"jvp": way, "lanczos_steps": 2}
    yield {"covariance": "diagonal-learned", "jvp": "finite-difference"}
    yield {"solver": "secant", "eta": 0.3}


def run(x: Tensor, options: dict, **callbacks: Any) -> Tensor:
    given = {"noise": lambda *_: normal(BATCH, D), "diagonal": MODEL.diagonal} | callbacks
    return sample(given.pop("denoise", MODEL), x, list(SIGMAS), options, **given)


def expect_usable(what: str) -> None:
    """That nothing of a call is left in this thread, and that the next one works."""
    expect(
        torch.is_grad_enabled() and not torch.is_inference_mode_enabled(), f"{what}: expected torch's modes as before"
    )
    expect(outside(), f"{what}: expected forward mode to be closed, and no mode of ours to be left")
    expect(
        bool(torch.isfinite(run(normal(BATCH, D), {"jvp": "forward"})).all()), f"{what}: expected the next call to work"
    )


class Raises:
    """A callback that raises at one of its calls."""

    def __init__(self, body: Callable, error: BaseException, at: int):
        self.body, self.error, self.left = body, error, at

    def __call__(self, *arguments):
        self.left -= 1
        if self.left == 0:
            raise self.error
        return self.body(*arguments)


@checks("shim.exceptions", "What a callback raises, at any of its calls, comes out as the same object.")
def exceptions(_: Installation) -> None:
    bodies = {
        "denoise": MODEL,
        "noise": lambda *_: normal(BATCH, D),
        "callback": lambda _: None,
        "diagonal": MODEL.diagonal,
    }
    caught = 0
    for options in settings():
        for name, body in bodies.items():
            for kind in RAISED:
                for at in (1, 2, 3):
                    error = kind("of the host's")
                    try:
                        run(normal(BATCH, D), options, **{name: Raises(body, error, at)})
                    except BaseException as came:
                        place = f"{kind.__name__} of {name}, call {at}, {options}"
                        expect(came is error, f"{place}: expected the same object, got {type(came).__name__}: {came}")
                        caught += 1
    expect(caught > 300, f"expected hundreds to come out, got {caught}")
    expect_usable("after exceptions")


@checks(
    "shim.interrupts", "A signal that raises, at any moment of a call, comes out of it, and leaves everything usable."
)
def interrupts(_: Installation) -> None:
    if not hasattr(signal, "setitimer"):
        raise NotHere("this system has no interval timer")
    raised: list[Interrupt] = []
    armed = False

    def interrupt(*_):
        if armed:
            raised.append(Interrupt())
            raise raised[-1]

    previous = signal.signal(signal.SIGALRM, interrupt)
    caught = 0
    try:
        for attempt in range(300):
            raised.clear()
            came = None
            options = {"jvp": ("forward", "finite-difference", "auto")[attempt % 3], "lanczos_steps": 2}
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + attempt * 2e-5)
                run(normal(BATCH, D), options)
                armed = False
            except Interrupt as error:
                came = error
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            expect(not raised or came is raised[0], f"attempt {attempt}: a signal was delivered, and the call went on")
            caught += came is not None
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    expect(caught > 30, f"expected to interrupt dozens of calls, got {caught}")
    expect_usable("after interrupts")


@checks("shim.odd_tensors", "Tensors whose numbers are not in memory are refused by name, given or returned.")
def tensors(_: Installation) -> None:
    x = normal(BATCH, D)
    for name, make in odd_tensors().items():
        _refused(lambda make=make: run(make(x), {}), "x:", f"{name} as x")
        _refused(lambda make=make: jvp(MODEL, x, 1.0, make(x)), "v:", f"{name} as v")
        _refused(lambda make=make: reverse_noise(MODEL, x, 1.0, 0.5, make(x)), "z:", f"{name} as z")
        _refused(lambda make=make: principal_components(MODEL, x, 1.0, make(x)), "z:", f"{name} as z")
        spoilt = lambda y, sigma, make=make: make(MODEL(y, sigma))  # noqa: E731
        _refused(
            lambda spoilt=spoilt: run(x, {"jvp": "finite-difference"}, denoise=spoilt), "denoise", f"{name} returned"
        )
        _refused(lambda make=make: run(x, {}, noise=lambda *_, make=make: make(x)), "noise", f"{name} as noise")
    for value in (None, 1.0, [1.0], "x", x.numpy()):
        _refused(lambda value=value: run(value, {}), "x:", f"{type(value).__name__} as x")
        answer = lambda *_, value=value: value  # noqa: E731
        _refused(lambda answer=answer: run(x, {}, denoise=answer), "denoise", f"{type(value).__name__} returned")
    expect_usable("after odd tensors")


def _refused(call: Callable[[], Any], words: str, what: str) -> None:
    try:
        call()
    except errors.Error as error:
        expect(words in str(error), f"{what}: expected {words!r} in: {error}")
    except BaseException as error:
        expect(False, f"{what}: expected an lgs.Error, got {type(error).__name__}: {error}")
    else:
        expect(False, f"{what}: expected it to be refused")


@checks("shim.answers", "The callbacks answer the library as the header says: a tensor, a failure, or a stop.")
def answers(subject: Installation) -> None:
    x, sigma = normal(BATCH, D), torch.full((BATCH,), 0.7, dtype=torch.float64)

    def answer(denoise: Callable, items: int = BATCH, forward: bool = False) -> tuple[int, Tensor | None, HostCall]:
        with HostCall(subject.engine, denoise, items=items, choice=Choice.sized()) as call:
            opened = asked(call.host(), "forward_ad", 1) if forward else CONTINUE
            expect(opened == CONTINUE, f"forward_ad(1): expected {CONTINUE}, got {opened}")
            came = asked(call.host(), "denoise", x, sigma, handles=subject.engine)
            if forward:
                expect(asked(call.host(), "forward_ad", 0) == CONTINUE, "forward_ad(0): expected it to go on")
                expect(asked(call.host(), "forward_ad", 0) == CONTINUE, "forward_ad(0), again: expected it to go on")
        return *came, call

    signal_, denoised, _ = answer(MODEL)
    expect(signal_ == CONTINUE and denoised is not None, f"an answer: expected {CONTINUE} and a tensor, got {signal_}")
    expect(torch.equal(denoised, MODEL(x, sigma)), "an answer: expected the model's")
    for kind in RAISED:
        signal_, denoised, call = answer(Raises(MODEL, kind("no"), 1))
        expect(signal_ == STOP and denoised is None, f"{kind.__name__}: expected {STOP} and no tensor, got {signal_}")
        expect(type(call.exception) is kind, f"{kind.__name__}: expected it to be kept")
        for items, forward in ((1, False), (BATCH, True)):
            signal_, denoised, _ = answer(Raises(MODEL, kind("no"), 1), items, forward)
            another = issubclass(kind, RuntimeError if forward else RuntimeError | ValueError)
            place = f"{kind.__name__} {'in forward mode' if forward else 'for a larger batch'}"
            expect(signal_ == (FAIL if another else STOP), f"{place}: got {signal_}")
    expect_usable("after answers")


@checks("shim.older_library", "A report of an older library, which has fewer fields, is taken for what it holds.")
def older_reports(subject: Installation) -> None:
    x, values, fields = normal(BATCH, D), [0.1, 0.2, 0.3, 0.4], dict(Progress._fields_)
    for size in (*(getattr(Progress, name).offset for name in list(fields)[11:]), Progress.sized().struct_size):
        seen: list[dict] = []
        with HostCall(subject.engine, MODEL, progress=seen.append, items=BATCH, choice=Choice.sized()) as call:
            answer = reported(call.host(), size, x, subject.engine, values)
        known = size >= Progress.ritz_count.offset + 8
        place = f"a report of {size} bytes"
        if size < Progress.denoised.offset + 8:
            continue  # no library of this interface has had less
        expect(
            answer == CONTINUE and len(seen) == 1, f"{place}: expected it to be taken, got {answer}: {call.exception}"
        )
        expect(seen[0]["i"] == 3 and torch.equal(seen[0]["x"], x), f"{place}: got {seen[0]}")
        expect(seen[0]["ritz_values"].numel() == (4 if known else 0), f"{place}: {seen[0]['ritz_values']}")


@checks("shim.nothing_kept", "Nothing is kept of a call: models and tensors go when their last user does.")
def nothing_kept(_: Installation) -> None:
    for fails in (False, True):
        for options in settings():
            model = GaussianModel()
            seen: list[weakref.ref] = []

            def denoise(x: Tensor, sigma: Tensor, model=model, seen=seen, fails=fails) -> Tensor:
                seen.append(weakref.ref(x))
                if fails and len(seen) == 4:
                    raise Interrupt
                return model(x, sigma)

            gone = weakref.ref(denoise)
            gc.disable()
            try:
                try:
                    run(normal(BATCH, D), options, denoise=denoise)
                except Interrupt:
                    pass
                del denoise
                expect(gone() is None, f"{options}: expected the model to be gone without the garbage collector")
                expect(all(x() is None for x in seen), f"{options}: expected the model's inputs to be gone")
            finally:
                gc.enable()


@checks("shim.threads", "Two copies of a call in eight threads, some of which fail: each gets its own outcome.")
def threads(_: Installation) -> None:
    outcomes: dict[int, Any] = {}
    expected = run(normal(BATCH, D), {"jvp": "forward"})

    def lane(number: int) -> None:
        error = Interrupt(str(number))
        denoise = Raises(MODEL, error, 5) if number % 2 else MODEL
        try:
            outcomes[number] = bool(torch.equal(run(normal(BATCH, D), {"jvp": "forward"}, denoise=denoise), expected))
        except BaseException as came:
            outcomes[number] = came is error

    in_threads(lane)
    wrong = [number for number in range(8) if outcomes.get(number) is not True]
    expect(not wrong, f"threads {wrong}: expected each its own outcome, got {outcomes}")
    expect_usable("after threads")


@checks("shim.fork", "A fork inside a model, also in forward mode, leaves a child that can sample.")
def fork(_: Installation) -> None:
    if not hasattr(os, "fork"):
        raise NotHere("this system has no fork")
    ended: list[int] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if len(ended) < 3:
            child = os.fork()
            if not child:
                # Another thread of the child, for this one is in the midst of a call.
                thread = threading.Thread(target=lambda: os._exit(0 if _samples() else 3), daemon=True)
                signal.alarm(20)
                thread.start()
                thread.join(30)
                os._exit(4)
            ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return MODEL(x, sigma)

    for way in ("finite-difference", "forward"):
        ended.clear()
        run(normal(BATCH, D), {"jvp": way}, denoise=denoise)
        expect(ended == [0, 0, 0], f"{way}: expected three children that sample, got statuses {ended}")
    expect_usable("after forks")


def _samples() -> bool:
    return bool(torch.isfinite(run(normal(BATCH, D), {"jvp": "finite-difference"})).all())
