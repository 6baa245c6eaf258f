"""What the library asks of a host while it samples: the model, noise, a report of each step, forward mode."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from ctypes import pointer
from typing import Any

import torch
from torch import Tensor

from .._torch.forward_ad import ForwardLevel, InUse
from .._torch.handles import DEVICES, borrow, give, oddity
from ..errors import InvalidType, ModelOutputError, is_out_of_memory
from .calls import Call, callback
from .engine import Engine
from .header import JVP_NAMES, Choice, Host, Progress
from .log import log

_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What a model raises at a shape that it is not made for. Running out of memory is a RuntimeError."""


class HostCall(Call):
    """A call that runs the model: what it may ask of the host."""

    def __init__(
        self,
        engine: Engine,
        denoise: Callable[[Tensor, Tensor], Tensor],
        noise: Callable[[float, float], Tensor] | None = None,
        progress: Callable[[dict[str, Any]], Any] | None = None,
        diagonal: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        items: int,
        choice: Choice,
    ):
        """``items`` is the batch of x, ``choice`` what is known of the model and what will be."""
        super().__init__()
        self.engine, self.denoise, self.noise, self.progress = engine, denoise, noise, progress
        self.diagonal = diagonal
        self.items, self.choice = items, choice
        self.known = choice.jvp, choice.doubled_batch, choice.coarse
        self.passing = False
        self.forward_level = ForwardLevel()
        self.differentiating = False
        self.several_points = False

    def host(self) -> Host:
        """The callbacks, for the library."""
        none = Host.type_of("diagonal")()
        diagonal = none if self.diagonal is None else _diagonal
        return Host.sized(self.number, _denoise, _noise, _progress, _forward_ad, pointer(self.choice), diagonal)

    def has_another_way(self, exception: BaseException) -> bool:
        """Only what torch raises where an operation has no forward-mode formula, and what a model raises
        at a batch of another size (or where memory does not suffice for it), lets the library try
        another way. Everything else ends the call: an interrupt must not be mistaken for that.
        """
        differentiating = self.differentiating
        # Where it was refused nothing is to be closed, and the library does not ask for it.
        self.differentiating = differentiating and self.forward_level.is_open
        if differentiating and isinstance(exception, InUse):
            log.info("LGS: finite differences for now: %s", exception)
            self.passing = True
            return True
        if differentiating and isinstance(exception, RuntimeError):
            when = "in forward mode"
        elif self.several_points and isinstance(exception, _REFUSALS):
            when = "for a larger batch than that of x"
        else:
            return False
        # What another way is taken for now is nothing to be known of the model.
        self.passing |= is_out_of_memory(exception)
        log.debug("LGS: the model failed %s", when, exc_info=exception)
        log.info("LGS: the model raised %s %s: %s", type(exception).__name__, when, _first_line(exception))
        # What the model held when it failed must not take the memory that the other way needs.
        traceback.clear_frames(exception.__traceback__)
        return True

    def __exit__(self, *exception):
        super().__exit__(*exception)
        if self.passing:
            self.choice.jvp, self.choice.doubled_batch, self.choice.coarse = self.known
        # Open only if the library has broken off; then its own guards came off before this one.
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            self.forward_level.close()


@callback("denoise")
def _denoise(call, x, sigma, out):
    x, sigma = borrow(call.engine, x), borrow(call.engine, sigma)
    call.several_points = len(x) > call.items
    denoised = call.denoise(x, sigma)
    out[0] = give(_expect_tensor("denoise", denoised))


@callback("diagonal")
def _diagonal(call, x, sigma, out):
    x, sigma = borrow(call.engine, x), borrow(call.engine, sigma)
    out[0] = give(_expect_tensor("diagonal", call.diagonal(x, sigma)))


@callback("noise")
def _noise(call, sigma, sigma_next, out):
    out[0] = give(_expect_tensor("noise", call.noise(sigma, sigma_next)))


@callback("progress")
def _progress(call, progress):
    if call.progress is None:
        return
    p = Progress.known(progress)
    x = borrow(call.engine, p.x)
    call.progress(
        {
            "x": x,
            "i": p.step,
            "steps": p.steps,
            "sigma": p.sigma,
            "sigma_hat": p.sigma,
            "sigma_next": p.sigma_next,
            "denoised": borrow(call.engine, p.denoised),
            "model_evaluations": p.model_evaluations,
            "jvps": p.jvps,
            "jvp": JVP_NAMES[p.jvp],
            "lanczos_error": p.lanczos_error,
            "covariance_share": p.covariance_share,
            "noise_variance": p.noise_variance,
            # The numbers are the library's: a tensor of our own outlives the call.
            "ritz_values": torch.tensor(p.ritz_values[: p.ritz_count], dtype=torch.float64).reshape(
                len(x), p.ritz_count // len(x)
            ),
        }
    )


@callback("forward_ad", even_when_stopping=True)
def _forward_ad(call, is_open):
    call.differentiating = bool(is_open)
    if is_open:
        call.forward_level.open()
    else:
        call.forward_level.close()


def _expect_tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise InvalidType(f"{name}: expected it to return a torch.Tensor, got {type(value).__name__}")
    if odd := oddity(value):
        raise ModelOutputError(f"{name}: expected it to return a dense tensor, got {odd}")
    if value.device.type not in DEVICES:
        raise ModelOutputError(f"{name}: expected it to return a tensor on x's device, got one on {value.device}")
    return value


def _first_line(exception: BaseException) -> str:
    return (str(exception).splitlines() or [""])[0]
