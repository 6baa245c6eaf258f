"""A trajectory that its caller drives, for hosts that own the loop: `Trajectory`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from ._arguments import Denoiser, check_process, check_sigmas, check_tensor
from ._asking import RESULT, Asking, Question
from ._torch.threads import current_stream, queue_on
from ._torch.versions import version
from .errors import InvalidArgument, InvalidType
from .options import Options
from .sampling import sample

ROUNDED = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
"""Dtypes in which a sampler does not compute, as the option ``precision`` names them."""


class Trajectory:
    """`lgs.sample` for a host that calls the model itself, in its own time.

        with lgs.Trajectory(x, sigmas, options) as trajectory:
            while not trajectory.done:
                trajectory.advance(denoise(trajectory.x, trajectory.sigma))
        samples = trajectory.result

    gives what ``lgs.sample(denoise, x, sigmas, options)`` gives, bit for bit, whatever the solver: that function runs
    in a thread of its own, which waits wherever it needs the model. ``x``, ``sigmas``, ``options``, ``noise``,
    ``callback`` and ``diagonal`` are those of `lgs.sample`; the last three are called in the thread that calls
    `advance`, or that makes the trajectory, while it does so. ``dtype`` (default: that of x) is what the host has its
    model compute in, and `x` and `result` are of it; between them nothing is rounded to it.

    The model is needed once for each level but the last, by the solver "secant" for the last as well unless that is 0;
    where ``options.products`` counts, once more for each product, or twice. A trajectory is for one thread at a time,
    and is neither copied nor pickled. One that is not driven to its end is ended by `close`, by its ``with`` block, or
    once nothing refers to it.

    Raises `lgs.InvalidArgument` for options that differentiate in forward mode, or find out whether to, as that takes
    the model within the call; otherwise as `lgs.sample`, out of `advance`. After an error the trajectory is closed.
    """

    def __init__(
        self,
        x: Tensor,
        sigmas: Tensor | Sequence[float],
        options: Options | Mapping[str, Any] | None = None,
        *,
        noise: Callable[[Tensor, Tensor], Tensor] | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        diagonal: Denoiser | None = None,
        dtype: torch.dtype | None = None,
    ):
        options = check_drivable(Options.of(options))
        check_process(diagonal, options)
        x = self._x = check_tensor("x", x)
        self._levels, _ = check_sigmas(sigmas)
        self._dtype, self._is_flow = x.dtype if dtype is None else check_dtype(dtype), options.process == "flow"
        if x.dtype in ROUNDED:
            x = x.float()
        if self._dtype in ROUNDED and options.precision == "auto":
            options = options._with(precision=ROUNDED[self._dtype])
        self._working = x.dtype
        given = {"noise": noise, "callback": callback, "diagonal": diagonal}
        self._callbacks = {name: function for name, function in given.items() if function is not None}
        self._asked_at: Tensor
        """x as it was handed out; with its noise level, from the first question on."""
        self._sigma: Tensor
        self._result: Tensor | None = None
        self._shift: Tensor | None = None
        """What the host has moved x/alpha by, in all; None as long as it has not."""
        self._is_busy = False
        asked = {"noise", *self._callbacks}
        self._asking = Asking(_sampling(x, sigmas, options, asked, current_stream(x.device)))
        weakref.finalize(self, self._asking.abandon)
        self._go_on(self._asking.first)

    @property
    def x(self) -> Tensor:
        """Where the model is to be asked, (batch, ...), on the device of the x that it began with. The caller's own."""
        self._check_under_way()
        return self._x

    @property
    def sigma(self) -> Tensor:
        """The noise level of x as a k-diffusion denoiser takes it: (batch,), all alike, in the dtype of x."""
        self._check_under_way()
        return self._sigma.to(self._dtype)

    @property
    def level(self) -> float:
        """The noise level of x as a number."""
        self._check_under_way()
        return float(self._sigma[0])

    @property
    def done(self) -> bool:
        """Whether there is a result."""
        return self._result is not None

    @property
    def result(self) -> Tensor:
        """x at the last noise level."""
        if self._result is None:
            raise InvalidArgument(
                "result: expected a trajectory that is done, got one that is not. Advance it further."
            )
        return self._result

    def advance(self, denoised: Tensor, x: Tensor | None = None) -> None:
        """Goes on with the model's answer, D(x, sigma), like x: until the model is needed again, or to the end.

        ``x`` is where the model was asked, if not at `x`: a host may have changed that, as behind a mask, into another
        tensor or in place. What x/alpha was moved by is kept for the rest of the trajectory, whose steps are the same
        for x + c and D(x) + c as for x and D(x).
        """
        self._check_under_way()
        self._take_notice(self._x if x is None else x)
        if isinstance(denoised, Tensor) and denoised.is_floating_point():
            denoised = denoised.to(self._working)
            if self._shift is not None and denoised.shape == self._shift.shape:
                denoised = denoised - self._shift
        self._go_on(lambda: self._asking.answer((denoised, current_stream(self._x.device))))

    def close(self) -> None:
        """Ends the trajectory, done or not, and waits until its thread is gone. It can be called more than once."""
        self._asking.abandon()
        self._asking.join()

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise InvalidType("trajectory: it has a thread of its own, and cannot be copied or pickled. Make a new one.")

    def _check_under_way(self) -> None:
        if self._is_busy:
            raise InvalidArgument(
                "trajectory: expected one caller at a time, got a second one, or a callback of its own that drives it. "
                "Make a trajectory for each."
            )
        if self.done:
            raise InvalidArgument("trajectory: expected one that is under way, got one that is done: see its result.")

    def _take_notice(self, x: Tensor) -> None:
        """Of where the host has moved x to.

        The secant takes what D changes by with it for a sign of J, too, and does not suffer: digits of which the left
        half is known, and put in after each step, come as near to sixty steps in the other half as with the mask around
        the model, x before it and D behind: root mean square 0.105, 0.053, 0.0247 and 0.0025 at 5, 7, 10 and 20
        evaluations, where that is 0.109, 0.054, 0.0249 and 0.0023.
        """
        if x is self._x and version(x) is not None and version(x) == self._version:
            return
        x = check_tensor("x", x)
        if x.shape != self._x.shape or x.device != self._x.device:
            raise InvalidArgument(
                f"x: expected shape {tuple(self._x.shape)} on {self._x.device}, as the trajectory has it, got "
                f"{tuple(x.shape)} on {x.device}. Begin a trajectory for another one."
            )
        moved, alpha = x.to(self._working) - self._asked_at.to(self._working), self._alpha(self.level)
        if alpha == 0:
            if moved.any():
                raise InvalidArgument(
                    "x: expected it unchanged at sigma 1 of a flow, where all of it is noise. Begin a trajectory with "
                    "what it is to be."
                )
            return
        self._shift = moved / alpha if self._shift is None else self._shift + moved / alpha

    def _go_on(self, next_question: Callable[[], Question]) -> None:
        """Until the model is needed, or to the end. Whatever interrupts this, Ctrl-C too, ends the trajectory: what was
        asked and what was answered is not known any more."""
        self._is_busy = True
        try:
            name, arguments = next_question()
            while name not in ("denoise", RESULT):
                name, arguments = self._replied(name, arguments)
            if name == RESULT:
                self._result = self._moved(arguments[0], self._levels[-1]).to(self._dtype)
            else:
                x, self._sigma = arguments
                self._asked_at = self._moved(x, self._sigma[0]).to(self._dtype)
                self._x = self._asked_at.clone()
                self._version = version(self._x)
        except BaseException:
            self._asking.abandon()
            raise
        finally:
            self._is_busy = False

    def _replied(self, name: str, arguments: tuple) -> Question:
        try:
            answer = self._reply(name, *arguments)
        except BaseException as exception:
            return self._asking.fail(exception)
        return self._asking.answer((answer, current_stream(self._x.device)))

    def _reply(self, name: str, *arguments: Any) -> Any:
        if name == "noise" and name not in self._callbacks:
            return torch.randn_like(self._x)
        if name == "diagonal":
            x, sigma = arguments
            arguments = self._moved(x, sigma[0]).to(self._dtype), sigma.to(self._dtype)
        if name == "callback":
            [progress] = arguments
            x, denoised = self._moved(progress["x"], progress["sigma"]), progress["denoised"]
            if self._shift is not None:
                denoised = denoised + self._shift
            arguments = (progress | {"x": x, "denoised": denoised},)
        return self._callbacks[name](*arguments)

    def _alpha(self, sigma: Tensor | float) -> float:
        return 1 - float(sigma) if self._is_flow else 1.0

    def _moved(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """The sampler's x as the host has it: the very same as long as the host has not moved it."""
        return x if self._shift is None else x + self._alpha(sigma) * self._shift


def check_dtype(dtype: torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
        return dtype
    raise InvalidType(f"dtype: expected a floating point dtype of torch, got {dtype}")


def check_drivable(options: Options) -> Options:
    """The options, where the model is needed for nothing but D(x), for one batch at a time."""
    if options.products and options.doubled_batch == "always":
        raise InvalidArgument(
            'doubled_batch: expected "never" where the host calls the model, for one batch at a time, got "always". '
            "Leave it out."
        )
    if options.products and options.jvp not in ("finite-difference", "central-difference"):
        raise InvalidArgument(
            f'jvp: expected "finite-difference" or "central-difference" where the host calls the model, got '
            f'"{options.jvp}", which needs the model within the call. Take one of these, or lgs.sample.'
        )
    return options


def _sampling(
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    options: Options,
    asked: Iterable[str],
    stream: torch.cuda.Stream | None,
) -> Callable[[Callable[..., Any]], Tensor]:
    """`lgs.sample` as a function that asks for the model's answers, and for those of its callbacks that are named.

    An answer comes with the stream on which the thread that gives it goes on."""

    def sampling(ask: Callable[..., Any]) -> Tensor:
        def asking(name: str) -> Callable[..., Any]:
            def asked_for(*arguments: Any) -> Any:
                answer, stream = ask(name, *arguments)
                queue_on(stream)
                return answer

            return asked_for

        queue_on(stream)
        return sample(asking("denoise"), x, sigmas, options, **{name: asking(name) for name in asked})

    return sampling
