"""Tensors of every kind that C++ can be handed: given as x, and returned by callbacks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._ffi.header import CONTINUE, ERROR_INVALID_ARGUMENT, ERROR_INVALID_TYPE, ERROR_MODEL_OUTPUT
from .._ffi.raw import Odd, levels, tensor_of
from .._torch.handles import give
from .._torch.kinds import equal_tensors
from .check import Checks, expect
from .engine import call, close, sampled, scripted
from .gaussian import BATCH, SIGMAS, D, normal
from .refusals import accepted, refused
from .subject import Installation

checks = Checks()


@checks("tensors.dtypes", "x of any floating dtype is taken, and the result is like it; any other is refused by name.")
def dtypes(subject: Installation) -> None:
    expected = sampled(subject, scripted(subject), {"jvp": "central-difference"}, normal(BATCH, D))
    for dtype, tolerance in ((torch.float32, 1e-3), (torch.bfloat16, 0.3), (torch.float16, 0.1)):
        x = normal(BATCH, D).to(dtype)
        for way in ("forward", "central-difference"):
            came = sampled(subject, scripted(subject, dtype=dtype), {"jvp": way}, x)
            expect(came.dtype == dtype, f"{dtype}: expected a result like x, got {came.dtype}")
            close(came, expected, tolerance, f"{dtype}, {way}")
    for dtype in (torch.int64, torch.int8, torch.bool, torch.complex64, torch.complex128):
        came = call(subject, "sample", scripted(subject), {}, torch.ones(BATCH, D).to(dtype), *levels(*SIGMAS))
        expect(came.status in (ERROR_INVALID_TYPE, ERROR_INVALID_ARGUMENT), f"{dtype}: expected a refusal, got {came}")
        refused(came, came.status, "x:", str(dtype))


@checks("tensors.views", "x may have any strides, bits and history.")
def views(subject: Installation) -> None:
    x = normal(BATCH, D)
    for way in ("forward", "finite-difference"):
        expected = sampled(subject, scripted(subject), {"jvp": way}, x)
        for name, view in equal_tensors().items():
            came = sampled(subject, scripted(subject), {"jvp": way}, view(x))
            close(came, expected, 1e-9, f"{name}, {way}")


@checks("tensors.shapes", "x of no axes, items or numbers is refused by name.")
def shapes(subject: Installation) -> None:
    for shape in ((), (0, D), (BATCH, 0), (0,)):
        host = scripted(subject)
        came = call(subject, "sample", host, {}, torch.zeros(shape, dtype=torch.float64), *levels(*SIGMAS))
        refused(came, ERROR_INVALID_ARGUMENT, "x:", f"shape {list(shape)}")
        expect(not host.calls, f"shape {list(shape)}: expected the model not to be asked")


@checks("tensors.not_finite", "x that holds NaN or infinity is refused before the model is asked.")
def not_finite(subject: Installation) -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        x, host = normal(BATCH, D), scripted(subject)
        x[1, 2] = value
        refused(call(subject, "sample", host, {}, x, *levels(*SIGMAS)), ERROR_INVALID_ARGUMENT, "x:", str(value))
        expect(not host.calls, f"{value}: expected the model not to be asked")


ODD: dict[str, Callable[[], Tensor]] = {
    "another shape": lambda: normal(BATCH, D + 1),
    "another axis": lambda: normal(1, BATCH, D),
    "no axes": lambda: normal(1)[0],
    "no items": lambda: normal(0, D),
    "integers": lambda: torch.ones(BATCH, D, dtype=torch.int64),
    "complex numbers": lambda: torch.ones(BATCH, D, dtype=torch.complex64),
    "booleans": lambda: torch.ones(BATCH, D, dtype=torch.bool),
    "NaN": lambda: normal(BATCH, D).index_fill(1, torch.tensor([2]), float("nan")),
    "infinity": lambda: normal(BATCH, D).index_fill(1, torch.tensor([2]), -float("inf")),
}


@checks(
    "tensors.returned", "A tensor that a callback returns and cannot be used is refused, with the step that it was in."
)
def returned(subject: Installation) -> None:
    x = normal(BATCH, D)
    for name, tensor in ODD.items():
        for kind in ("denoise", "noise", "diagonal"):
            for at in (1, 2):
                for way in ("finite-difference", "forward"):
                    options = {"covariance": "diagonal-learned"} if kind == "diagonal" else {"lanczos_steps": 2}
                    host = scripted(subject, odd=Odd(kind, at, CONTINUE, tensor))
                    settings = {"jvp": way, "doubled_batch": "never", **options}
                    came = call(subject, "sample", host, settings, x, *levels(*SIGMAS))
                    refused(came, ERROR_MODEL_OUTPUT, "step", f"{kind}, call {at}, returns {name} ({way})")


@checks("tensors.same_memory", "A model may answer in the same memory each time: what is kept of an answer is a copy.")
def same_memory(subject: Installation) -> None:
    x = normal(BATCH, D)
    for options in ({"jvp": "forward"}, {"jvp": "finite-difference"}, {"solver": "secant", "jvp": "finite-difference"}):
        expected, memory = sampled(subject, scripted(subject), options, x), {}
        host = scripted(subject)
        fresh = host.denoise

        def answer(x: Tensor, sigma: Tensor, fresh=fresh, memory=memory) -> Tensor:
            made = fresh(x, sigma)
            return memory.setdefault(made.shape, torch.empty_like(made)).copy_(made)

        host.denoise = answer
        expect(torch.equal(sampled(subject, host, options, x), expected), f"{options}: expected equal bits")


@checks("tensors.clone", "A clone owns the tensor: it lives when the other is gone.")
def clones(subject: Installation) -> None:
    engine, x = subject.engine, normal(BATCH, D)
    before, given = x.clone(), give(x)
    clone = engine.clone_handle(given)
    engine.delete_handle(given)
    again = tensor_of(clone)
    address = x.data_ptr()
    del x
    expect(torch.equal(again, before) and again.data_ptr() == address, "expected the same tensor, not a copy")


@checks("numbers.levels", "Invalid noise levels are refused by name before the model is asked.")
def noise_levels(subject: Installation) -> None:
    nan, inf = float("nan"), float("inf")
    bad = ((nan, 1, 0), (inf, 1, 0), (2, nan, 0), (2, -1, 0), (2, 0, 0), (2, 0, 1), (0, 0), (2, 1, 1.5), (2,), ())
    for sigmas in bad:
        host = scripted(subject)
        came = call(subject, "sample", host, {}, normal(BATCH, D), *levels(*sigmas))
        refused(came, ERROR_INVALID_ARGUMENT, "sigma", f"sigmas {sigmas}")
        came = call(subject, "sample", host, {}, normal(BATCH, D), *levels(*sigmas), wants_error=False)
        expect(came.status == ERROR_INVALID_ARGUMENT, f"sigmas {sigmas} without an error parameter: got {came.status}")
        expect(not host.calls, f"sigmas {sigmas}: expected the model not to be asked")
    for sigma in (nan, inf, 0.0, -1.0):
        came = call(subject, "jvp", scripted(subject), {}, normal(BATCH, D), sigma, normal(BATCH, D), outs=2)
        refused(came, ERROR_INVALID_ARGUMENT, "sigma", f"jvp at sigma {sigma}")
    for sigma, below in ((1.0, 2.0), (1.0, -1.0), (nan, 0.5)):
        came = call(subject, "reverse_noise", scripted(subject), {}, normal(BATCH, D), sigma, below, normal(BATCH, D))
        refused(came, ERROR_INVALID_ARGUMENT, "sigma", f"reverse_noise from {sigma} to {below}")


@checks("numbers.flow", "In a flow the largest level is 1, within rounding.")
def flow_levels(subject: Installation) -> None:
    for first, taken in ((1.0, True), (1.0 + 1.2e-7, True), (1.01, False)):
        host = scripted(subject, _flow_model)
        came = call(subject, "sample", host, {"process": "flow"}, normal(BATCH, D), *levels(first, 0.5, 0.0))
        if taken:
            accepted(came, f"a flow from {first}")
            tensor_of(came.outs[0])
        else:
            refused(came, ERROR_INVALID_ARGUMENT, "sigma", f"a flow from {first}")


def _flow_model(x: Tensor, sigma: Tensor) -> Tensor:
    """Of x_0 ~ N(0, 1): x = (1 - s) x_0 + s e."""
    s = sigma[:, None]
    return (1 - s) * x / ((1 - s) ** 2 + s**2)
