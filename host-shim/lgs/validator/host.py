"""A model as the host's side: what a sampler takes for granted of ``denoise(x, sigma)``, and what it does not."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import errors
from .._torch.kinds import outside
from ..sampling import jvp, sample
from .check import Checks, NotHere, Violation, expect

checks = Checks()

ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}
"""What a network in this dtype may differ by for reasons of the order of its sums."""


LONG_STEP = {torch.float64: 0.05, torch.float32: 0.05, torch.bfloat16: 0.3, torch.float16: 0.2}
"""A step for a difference, relative to sigma, that rounding does not drown."""


@dataclass(frozen=True)
class Model:
    """A host's model, and a point to ask it at."""

    denoise: Callable[[Tensor, Tensor], Tensor]
    shape: tuple[int, ...]
    """Of one item."""
    sigma_max: float
    sigma_min: float = 0.03
    process: str = "ve"
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    def noise(self, items: int, seed: int = 0) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(seed)
        made = torch.randn(items, *self.shape, generator=generator, dtype=torch.float64, device="cpu")
        return made.to(self.device, self.dtype)

    def middle(self) -> float:
        """A noise level at which both the picture and the noise count."""
        return math.sqrt(self.sigma_max * self.sigma_min)

    def at(self, x_0: Tensor, sigma: float, seed: int) -> Tensor:
        """x at a level, of the data x_0."""
        alpha = 1 - sigma if self.process == "flow" else 1.0
        return alpha * x_0 + sigma * self.noise(len(x_0), seed)

    def ask(self, x: Tensor, sigma: float) -> Tensor:
        with torch.no_grad():
            return self.denoise(x.clone(), torch.full((len(x),), sigma, device=x.device, dtype=x.dtype))

    def points(self, items: int = 2) -> Iterator[tuple[float, Tensor]]:
        """Levels, and x there as a trajectory meets it."""
        x = self.sigma_max * self.noise(items)
        yield self.sigma_max, x
        x_0 = self.ask(x, self.sigma_max)
        for i, sigma in enumerate((self.middle(), self.sigma_min)):
            yield sigma, self.at(x_0, sigma, seed=i + 1)


def difference(came: Tensor, expected: Tensor) -> float:
    """Relative, by the norm."""
    return float((came.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30))


@checks("host.like_x", "denoise gives a finite tensor of x's shape, dtype and device.")
def like_x(model: Model) -> None:
    for items in (1, 2):
        for sigma, x in model.points(items):
            came, place = model.ask(x, sigma), f"{items} items at sigma {sigma:.4g}"
            expect(isinstance(came, Tensor), f"{place}: expected a torch.Tensor, got {type(came).__name__}")
            expect(came.shape == x.shape, f"{place}: expected shape {list(x.shape)}, got {list(came.shape)}")
            expect(came.dtype == x.dtype, f"{place}: expected {x.dtype}, got {came.dtype}")
            expect(came.device == x.device, f"{place}: expected it on {x.device}, got {came.device}")
            expect(bool(torch.isfinite(came).all()), f"{place}: expected finite numbers")


@checks("host.repeatable", "The same question has the same answer: no dropout, no noise of the model's own.")
def repeatable(model: Model) -> None:
    for sigma, x in model.points():
        first, again = model.ask(x, sigma).clone(), model.ask(x, sigma)
        spread = difference(again, first)
        expect(
            spread <= ROUNDING[model.dtype],
            f"at sigma {sigma:.4g}: expected the same answer twice, got one {spread:.1%} off: is the model in train()?",
        )


@checks("host.input", "denoise may use x, and does not write to it or to sigma.")
def input_is_left_alone(model: Model) -> None:
    for sigma, x in model.points():
        given, level = x.clone(), torch.full((len(x),), sigma, device=x.device, dtype=x.dtype)
        before = level.clone()
        with torch.no_grad():
            model.denoise(given, level)
        expect(torch.equal(given, x), f"at sigma {sigma:.4g}: expected x as it was; the model writes to it")
        expect(torch.equal(level, before), f"at sigma {sigma:.4g}: expected sigma as it was; the model writes to it")


@checks("host.items", "Items of a batch do not meet: each is answered as it is alone.")
def items(model: Model) -> None:
    for sigma, x in model.points(3):
        whole = model.ask(x, sigma).clone()
        for item in range(len(x)):
            off = difference(model.ask(x[item : item + 1], sigma), whole[item : item + 1])
            expect(
                off <= 10 * ROUNDING[model.dtype],
                f"item {item} at sigma {sigma:.4g}: expected the same answer alone, got one {off:.1%} off",
            )


@checks("host.larger_batch", "A larger batch than x's is answered item by item, or refused with an exception.")
def larger_batch(model: Model) -> None:
    for sigma, x in model.points():
        for times in (2, 3):
            try:
                came = model.ask(torch.cat([x] * times), sigma)
            except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as refusal:
                raise NotHere(f"it is refused, which costs time and nothing else: {refusal}") from None
            expect(len(came) == times * len(x), f"expected {times * len(x)} answers, got {len(came)}")
            off = difference(came, torch.cat([model.ask(x, sigma)] * times))
            expect(
                off <= 10 * ROUNDING[model.dtype], f"{times} times the batch: expected the same answers, {off:.1%} off"
            )


@checks("host.posterior_mean", "denoise gives the posterior mean of x_0: not the noise, nor a velocity or a score.")
def posterior_mean(model: Model) -> None:
    sigma, x = list(model.points(2))[2]
    alpha = 1 - sigma if model.process == "flow" else 1.0
    # |x - alpha D| is sigma times less than the square root of the dimension, and not much less: at a low level what is
    # left is about the noise. An eps, a v or a score in place of D is off by x itself.
    left = float((x - alpha * model.ask(x, sigma)).double().pow(2).mean().sqrt()) / sigma
    expect(
        left < 2.5,
        f"at sigma {sigma:.4g}: expected x - D(x) to be about as large as the noise, got {left:.3g} times as large: "
        "does denoise return the noise or a velocity?",
    )


@checks("host.sigma", "denoise looks at sigma: at another level the same x has another answer.")
def looks_at_sigma(model: Model) -> None:
    _, x = list(model.points())[1]
    near, far = model.ask(x, model.middle()).clone(), model.ask(x, model.sigma_max)
    expect(difference(near, far) > 1e-4, "expected another answer at another noise level, got the same")


@checks("host.derivative", "In forward mode its derivative is that of its answers, or it raises an error.")
def derivative(model: Model) -> None:
    sigma, x = list(model.points())[1]
    v = model.noise(len(x), seed=9)
    try:
        product = jvp(model.denoise, x, sigma, v, {"jvp": "forward", "process": model.process})[1]
    except (errors.Error, RuntimeError, NotImplementedError) as refusal:
        raise NotHere(f"no forward mode, so that differences are taken: {refusal}") from None
    h = LONG_STEP[model.dtype] * sigma
    long = (model.ask(x + h * v, sigma).double() - model.ask(x - h * v, sigma).double()) / (2 * h)
    scale = float(long.norm().clamp(min=1e-30))
    off = float((product.double() - long).norm()) / scale
    expect(
        off < 0.5,
        f"at sigma {sigma:.4g}: expected about the derivative along a long difference, got one {off:.0%} off: weights "
        'or activations that are rounded (8 bits, fp8)? Take jvp "central-difference".',
    )


@checks("host.modes", "Torch's modes, default dtype and random numbers are as they were.")
def modes(model: Model) -> None:
    x = list(model.points())[1][1]
    level = torch.full((len(x),), model.middle(), device=x.device, dtype=x.dtype)
    before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
    modes_before = outside()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        state = torch.get_rng_state()
        for context in (contextlib.nullcontext, torch.inference_mode):
            with context():
                model.denoise(x.clone(), level)
        expect(torch.equal(state, torch.get_rng_state()), "expected torch's random numbers to be left to the sampler")
    after = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
    expect(before == after, f"expected (grad, inference, dtype) {before}, got {after}")
    expect(outside() or not modes_before, "expected no mode of torch's to be left on")


@checks("host.sample", "A trajectory through it ends in finite numbers, and two of the same noise end in the same.")
def samples(model: Model) -> None:
    x = model.sigma_max * model.noise(2)
    sigmas = [model.sigma_max, *(float(s) for s in torch.logspace(0, -1.5, 4) * model.sigma_max * 0.5), 0.0]
    for options in ({"solver": "secant"}, {"lanczos_steps": 1, "jvp": "central-difference"}):
        settings: dict[str, Any] = {"process": model.process, **options}

        def draw(settings: dict[str, Any] = settings) -> Tensor:
            return sample(model.denoise, x, sigmas, settings, noise=lambda *_: model.noise(2, seed=3))

        once, again = draw(), draw()
        expect(bool(torch.isfinite(once).all()), f"{options}: expected finite numbers")
        off = difference(again, once)
        expect(
            off <= 100 * ROUNDING[model.dtype], f"{options}: expected the same picture of the same noise, {off:.1%} off"
        )


@checks("host.interrupt", "An exception that it raises comes out of the sampler as it is, and the next call works.")
def interrupt(model: Model) -> None:
    class Interrupt(Exception):
        pass

    error, calls = Interrupt(), 0

    def interrupted(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return model.denoise(x, sigma)

    x, sigmas = model.sigma_max * model.noise(1), [model.sigma_max, model.middle(), model.sigma_min]
    settings = {"process": model.process, "lanczos_steps": 1}
    try:
        sample(interrupted, x, sigmas, settings)
    except Interrupt as came:
        expect(came is error, "expected the same exception")
    else:
        raise Violation("expected the exception to come out of the sampler")
    expect(bool(torch.isfinite(sample(model.denoise, x, sigmas, settings)).all()), "expected the next call to work")
