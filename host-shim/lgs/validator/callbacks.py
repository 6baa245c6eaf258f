"""Every callback failing, stopping and answering nonsense at each of its calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .._ffi import CONTINUE, FAIL, STOP
from .._ffi.header import ERROR_HOST_FAILED, ERROR_HOST_STOPPED
from .._ffi.raw import Odd, Outcome, ScriptedHost, levels, pointer, tensor_of
from .check import Checks, expect
from .engine import MODEL, WAYS, call, sampled, scripted
from .gaussian import BATCH, SIGMAS, D, normal
from .refusals import accepted, refused
from .subject import Installation

checks = Checks()

FUNCTIONS: dict[str, tuple[Callable, int]] = {
    "sample": (lambda s, host, options, x: call(s, "sample", host, options, x, *levels(*SIGMAS)), 1),
    "reverse_noise": (lambda s, host, options, x: call(s, "reverse_noise", host, options, x, 0.9, 0.4, x), 1),
    "jvp": (lambda s, host, options, x: call(s, "jvp", host, options, x, 0.9, x, outs=2), 2),
    "principal_components": (
        lambda s, host, options, x: call(s, "principal_components", host, options, x, 0.9, x, outs=3),
        3,
    ),
}
"""Each with as many results as it gives."""


def _settings() -> Iterator[dict]:
    """Those in which no other way is tried after a failure."""
    for jvp in WAYS:
        for more in ({"lanczos_steps": 2}, {"covariance": "diagonal"}, {"covariance": "diagonal-learned"}):
            yield {"jvp": jvp, "doubled_batch": "never", **more}
    yield {"solver": "secant", "eta": 0.3, "jvp": "finite-difference", "doubled_batch": "never"}


def _results(came: Outcome) -> list[Tensor]:
    return [tensor_of(out) for out in came.outs] if came.status == 0 else []


def in_every_position(
    subject: Installation, answer: int, status: int, tensor: Callable[[], Tensor] | None = None
) -> None:
    """Runs each function in each setting once for each call of each callback, which then answers otherwise."""
    x, positions = normal(BATCH, D), 0
    for name, (function, _) in FUNCTIONS.items():
        for options in _settings():
            if name != "sample" and "solver" in options:
                continue
            whole = scripted(subject)
            came = function(subject, whole, options, x)
            accepted(came, f"{name} {options}")
            expected = _results(came)
            for kind in ("denoise", "noise", "diagonal", "progress", "forward_ad"):
                for at in range(1, whole.calls[kind] + 1):
                    positions += 1
                    place = f"{name} {options}, answer {answer} of {kind}, call {at}"
                    host = scripted(subject, odd=Odd(kind, at, answer, tensor))
                    came = function(subject, host, options, x)
                    refused(came, status, "callback", place)
                    expect(host.later == 0, f"{place}: expected to be asked nothing afterwards, was {host.later} times")
                    _is_closed(host, place)
            again = _results(function(subject, scripted(subject), options, x))
            expect(all(map(torch.equal, expected, again)), f"{name} {options}: expected the same bits after failures")
    expect(positions > 100, f"expected more than a hundred positions, got {positions}: a fault of the validator")


def _is_closed(host: ScriptedHost, place: str) -> None:
    refused_at_opening = host.odd is not None and host.odd.kind == "forward_ad"
    expect(not host.problems, f"{place}: {'; '.join(host.problems)}")
    expect(host.level_open == 0 or refused_at_opening, f"{place}: expected forward mode to be closed")
    expect(host.calls["forward_ad"] % 2 == 0 or refused_at_opening, f"{place}: expected forward_ad in pairs")


@checks("callbacks.stop", "LGS_STOP from any callback, at any of its calls, ends the call at once.")
def stops(subject: Installation) -> None:
    in_every_position(subject, STOP, ERROR_HOST_STOPPED)


@checks("callbacks.fail", "LGS_FAIL from any callback, at any of its calls, ends a call that has no other way.")
def fails(subject: Installation) -> None:
    in_every_position(subject, FAIL, ERROR_HOST_FAILED)


@checks("callbacks.with_tensor", "An answer counts also where a tensor was stored, which is not lost.")
def stores_all_the_same(subject: Installation) -> None:
    in_every_position(subject, STOP, ERROR_HOST_STOPPED, lambda: normal(BATCH, D))
    in_every_position(subject, FAIL, ERROR_HOST_FAILED, lambda: normal(BATCH, D))


@checks("callbacks.nonsense", "An answer that is none of the three is a failure.")
def answers_nonsense(subject: Installation) -> None:
    in_every_position(subject, 77, ERROR_HOST_FAILED)
    in_every_position(subject, -1, ERROR_HOST_FAILED, lambda: normal(BATCH, D))


@checks("callbacks.no_tensor", "LGS_CONTINUE without a tensor is a failure.")
def stores_nothing(subject: Installation) -> None:
    for kind, options in (("denoise", {}), ("noise", {}), ("diagonal", {"covariance": "diagonal-learned"})):
        for at in (1, 2):
            host = scripted(subject, odd=Odd(kind, at, CONTINUE))
            settings = {"jvp": "finite-difference", "doubled_batch": "never", **options}
            came = FUNCTIONS["sample"][0](subject, host, settings, normal(BATCH, D))
            refused(came, ERROR_HOST_FAILED, "callback", f"{kind}, call {at}")


@checks("callbacks.optional", "Callbacks that the header says may be null are not called where they are.")
def optional(subject: Installation) -> None:
    for missing in ({"progress": False}, {"forward_ad": False}, {"diagonal": None}):
        host = scripted(subject)
        for name, value in missing.items():
            setattr(host, name, value)
        sampled(subject, host, {"lanczos_steps": 2}, normal(BATCH, D))
        expect(not host.calls[next(iter(missing))], f"{missing}: expected it not to be called")
    host = scripted(subject)
    struct = host.struct()
    struct.choice = None
    sampled(subject, host, {"lanczos_steps": 2}, normal(BATCH, D), struct=pointer(struct))


@checks(
    "callbacks.another_way", "Under auto a refusal in forward mode or of a larger batch is answered by another way."
)
def another_way(subject: Installation) -> None:
    x = normal(BATCH, D)
    plain = sampled(subject, scripted(subject), {"jvp": "central-difference"}, x)
    for options in ({"jvp": "auto"}, {"jvp": "finite-difference", "doubled_batch": "always"}):
        several = scripted(subject, _one_point_at_a_time)
        came = sampled(subject, several, options, x)
        expect(float((came - plain).norm() / plain.norm()) < 0.2, f"{options}: expected about the same result")
    host = scripted(subject, _refuses_duals)
    sampled(subject, host, {"jvp": "auto"}, x)
    expect(host.reports[-1]["jvp"] != 1, "a model without forward mode: expected differences to be taken")
    without = scripted(subject, forward_ad=False)
    sampled(subject, without, {"jvp": "auto"}, x)
    expect(without.calls["forward_ad"] == 0, "a host without forward mode: expected not to be asked for it")


def _one_point_at_a_time(x: Tensor, sigma: Tensor) -> Tensor:
    if len(x) > BATCH:
        raise RuntimeError("one point at a time")
    return MODEL(x, sigma)


def _refuses_duals(x: Tensor, sigma: Tensor) -> Tensor:
    if torch.autograd.forward_ad.unpack_dual(x).tangent is not None:
        raise RuntimeError("no forward mode")
    return MODEL(x, sigma)
