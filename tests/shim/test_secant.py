"""The secant through the Python API: against a second implementation, and what a host relies on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

import lgs

SHAPE = (3, 2, 16, 16)
SIGMAS = [10.0, 5.0, 2.5, 1.0, 0.4, 0.1, 0.0]
FLOW = [1.0, 0.9, 0.7, 0.4, 0.1, 0.0]


def two_heaps(x: Tensor, sigma: Tensor, alpha: float = 1.0) -> Tensor:
    """Two Gaussians of variance 0.04 at -1 and 1 in each number of an item, x = alpha x_0 + sigma z."""
    sigma = sigma.view(-1, *[1] * (x.ndim - 1)) / alpha
    variance = 0.04 + sigma**2
    x = x / alpha
    centre = (x / variance).tanh()
    return centre + (x - centre) * (0.04 / variance)


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def reference(denoise, x: Tensor, sigmas: list[float], eta: float, noises: list[Tensor], pure_noise: bool) -> Tensor:
    """The method of plugin/engine/src/solver/secant.rs for alpha = 1, written out anew: one item and one octave at a
    time, the transform from SciPy, integrals by Gauss and Legendre."""

    def there(x: Tensor) -> np.ndarray:
        return dctn(x.numpy(), axes=(2, 3), norm="ortho")

    def back(x: np.ndarray) -> Tensor:
        return torch.from_numpy(idctn(x, axes=(2, 3), norm="ortho"))

    height, width = x.shape[2:]
    longest = max(height, width)
    frequency = np.hypot(*np.ogrid[: longest : longest / height, : longest : longest / width])
    octave = np.floor(np.log2(frequency + 1)).astype(int)
    cells = [(item, number) for item in range(len(x)) for number in np.unique(octave)]
    nodes, weights = np.polynomial.legendre.leggauss(40)
    k = 1 + eta**2

    def at(array: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
        return array[cell[0]][:, octave == cell[1]]

    def call(x: Tensor, sigma: float) -> np.ndarray:
        return there(denoise(x, torch.full((len(x),), sigma, dtype=x.dtype)))

    d, known = call(x, sigmas[0]), {}
    x = there(x) + (d if pure_noise else 0)
    for step, (t, s) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        if s == 0:
            return back(d)
        r, z = x - d, there(noises[step])
        h = math.log(t / s)

        def flow(v: float, t: float = t, s: float = s) -> float:
            return (v + s * s) / (v + t * t)

        def quadrature(f, p: float, v: float) -> float:
            return p * f(v) + (1 - p) * f(0.0)

        def gain(v: float, t: float = t, flow=flow) -> float:
            j = v / (v + t * t)
            return (flow(v) ** (k / 2) - j) / (1 - j)

        def spread(p: float, v: float, s: float = s, flow=flow, quadrature=quadrature) -> float:
            return math.sqrt(quadrature(lambda v: (v + s * s) * (1 - flow(v) ** (eta * eta)), p, v))

        def change(v: float, t: float = t, s: float = s, flow=flow) -> float:
            # D at the end of the mean's path, less D: for x = 1, r = t^2 / (v + t^2).
            x_s = flow(v) ** (k / 2)
            return (v / (v + s * s) * x_s - v / (v + t * t)) * (v + t * t) / (t * t)

        def weight(e: float, node: float, t: float = t, h: float = h) -> float:
            u = -h / 2 * (1 + nodes)
            shape = np.expm1(e * u) / math.expm1(e * math.log(node / t)) if e > 1e-9 else u / math.log(node / t)
            return (h / 2 * weights * k * np.exp(-k * (u + h)) * shape).sum()

        predicted = np.empty_like(x)
        for cell in cells:
            p, v, e, beyond, u, _, _ = known.get(cell, (1.0, 0.0, 0.0, 0.0, None, None, None))
            part = at(d, cell) + quadrature(gain, p, v) * at(r, cell) + spread(p, v) * at(z, cell)
            if u is not None:
                part = part - weight(e, u) * beyond
            predicted[cell[0]][:, octave == cell[1]] = part
        found = call(back(predicted), s)
        d_next, x_next = found.copy(), np.empty_like(x)
        for cell in cells:
            w = at(found, cell) - at(d, cell)
            y = at(predicted, cell) - at(d, cell) - (s / t) ** 2 * at(r, cell)
            yy, yw, ww = (y * y).sum(), (y * w).sum(), (w * w).sum()
            theta = min(max(yw / yy, 0.0), 0.9999)
            along = min(ww / yw, 1.0) if yw > 0 else 1.0
            node = min(max((theta + along) / 2, theta), 0.9999)
            p, v = theta / node, s * s * node / (1 - node)
            before = known.get(cell)
            if before is None:
                shown = theta
            else:
                shown = 2 * (math.log(before[5] / ww) / 2 + math.log(h / before[6])) / (h + before[6])
            e = (min(max(shown, 0.0), 1.0) + along) / 2
            noise = spread(p, v) * at(z, cell)
            gaussian = at(d, cell) + quadrature(gain, p, v) * at(r, cell) + noise
            beyond = w - quadrature(change, p, v) * at(r, cell) - theta * noise
            if before is None:
                beyond = (beyond + theta * (gaussian - at(predicted, cell))) / (1 - theta * weight(e, s))
            moved = gaussian + weight(e, s) * beyond
            d_next[cell[0]][:, octave == cell[1]] += theta * (moved - at(predicted, cell))
            x_next[cell[0]][:, octave == cell[1]] = moved
            known[cell] = (p, v, e, beyond, t, ww, h)
        x, d = x_next, d_next
    return back(x)


@pytest.mark.parametrize("pure_noise", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("sigmas", [SIGMAS, SIGMAS[:-1]], ids=["to 0", "in part"])
def test_it_is_what_a_second_implementation_computes(sigmas: list[float], eta: float, pure_noise: bool):
    x = normal(1, 2, 2, 8, 16) * sigmas[0]
    noises = [normal(10 + i, *x.shape) for i in range(len(sigmas))]
    given = iter(noises)
    options = lgs.Options(solver="secant", eta=eta, pure_noise=pure_noise)
    came = lgs.sample(two_heaps, x, sigmas, options, noise=lambda *_: next(given))
    expected = reference(two_heaps, x, sigmas, eta, noises, pure_noise)
    torch.testing.assert_close(came, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("process", "sigmas"), [("ve", SIGMAS), ("flow", FLOW)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_one_evaluation_a_step_in_every_dtype(process: str, sigmas: list[float], dtype: torch.dtype):
    calls, steps = [], []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append((x.dtype, float(sigma[0])))
        alpha = 1 - float(sigma[0]) if process == "flow" else 1.0
        return two_heaps(x.float(), sigma.float(), max(alpha, 0.005)).to(dtype)

    options = lgs.Options(solver="secant", process=process)
    samples = lgs.sample(denoise, normal(2, *SHAPE, dtype=dtype) * sigmas[0], sigmas, options, callback=steps.append)
    assert samples.dtype == dtype and samples.shape == SHAPE and samples.isfinite().all()
    assert [kind for kind, _ in calls] == [dtype] * (len(sigmas) - 1)
    assert [level for _, level in calls] == pytest.approx(sigmas[:-1], rel=1e-2), "at the levels of the schedule"
    assert [step["model_evaluations"] for step in steps] == [*range(2, len(sigmas)), len(sigmas) - 1]
    assert all(step["jvps"] == 0 for step in steps) and options.products == 0
    for step in steps[:-1]:
        theta = step["ritz_values"]
        assert theta.shape == (3, 5) and (theta >= 0).all() and (theta < 1).all() and (theta.diff(dim=1) >= 0).all()
        assert math.isnan(step["lanczos_error"]) and step["noise_variance"] == 0


@pytest.mark.parametrize("shape", [(2, 9), (2, 4, 31), (1, 3, 7, 12), (1, 2, 3, 8, 8), (2, 1, 1, 1), (4,)])
def test_of_any_shape(shape: tuple[int, ...]):
    options = lgs.Options(solver="secant", eta=0.5)
    samples = lgs.sample(two_heaps, normal(3, *shape) * 10, SIGMAS, options)
    assert samples.shape == shape and samples.isfinite().all() and samples.abs().max() < 3


def test_an_item_is_the_same_in_any_batch():
    noises = [normal(20 + i, *SHAPE) for i in range(len(SIGMAS))]

    def drawn(items: slice) -> Tensor:
        given = iter(noises)
        options = lgs.Options(solver="secant", eta=0.5)
        x = (normal(4, *SHAPE) * SIGMAS[0])[items]
        return lgs.sample(two_heaps, x, SIGMAS, options, noise=lambda *_: next(given)[items])

    together = drawn(slice(None))
    for item in range(SHAPE[0]):
        torch.testing.assert_close(drawn(slice(item, item + 1)), together[item : item + 1], rtol=0, atol=1e-9)


def test_more_steps_lead_to_the_same_picture():
    """With eta 0: the ODE's."""

    def drawn(steps: int) -> Tensor:
        levels = [*torch.logspace(1, -1.3, steps, dtype=torch.float64).tolist(), 0.0]
        return lgs.sample(two_heaps, normal(5, *SHAPE) * levels[0], levels, lgs.Options(solver="secant"))

    fine = drawn(200)
    errors = [float((drawn(steps) - fine).square().mean().sqrt()) for steps in (6, 12, 24, 48)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 20


def test_pure_noise_is_for_what_has_no_picture_beneath():
    """A mean that noise alone lacks: with it the end is nearer to the law's than without."""
    mean = 6.0

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return mean + (x - mean) / (1 + sigma.view(-1, 1, 1, 1) ** 2)

    x = normal(6, 64, 1, 8, 8) * 10
    found = {
        pure: lgs.sample(denoise, x, [10.0, 3.0, 1.0, 0.1, 0.0], lgs.Options(solver="secant", pure_noise=pure)).mean()
        for pure in (False, True)
    }
    assert abs(found[True] - mean) < abs(found[False] - mean) / 3


def test_the_options_that_count_are_named_where_they_are_wrong():
    with pytest.raises(ValueError, match='solver: expected one of "ancestral", "secant", got "newton"'):
        lgs.Options(solver="newton")
    with pytest.raises(TypeError, match="pure_noise: expected true or false"):
        lgs.Options(pure_noise=1)
    broken = lgs.Options(solver="secant")
    with pytest.raises(lgs.Error, match=r"step 2 of 6 \(sigma 5.0"):
        lgs.sample(lambda x, s: x / 2 if s[0] > 2.5 else x * float("nan"), normal(7, *SHAPE), SIGMAS, broken)
