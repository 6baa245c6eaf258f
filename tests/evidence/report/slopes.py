"""Power laws in numbers that were measured: their slope with its standard error, and where they reach a value."""

from __future__ import annotations

import math

import numpy as np


def fitted_slope(steps: tuple[int, ...], *parts: np.ndarray, resamples: int = 1000) -> dict[str, float]:
    """The slope of log E[KL] against log T, by least squares; E[KL] is the sum of the parts' means.

    A part is the KL of each path, (len(steps), paths), or what adds to it, of other paths. ``sampling`` is
    the slope's standard deviation over bootstrap samples of the paths, which are the same for every T. ``fit`` is
    the standard error that the residuals about the line give; they are no chance, but the curvature of what
    is not yet in its limit. ``stderr`` is both, in quadrature.
    """
    at = np.log(steps) - np.log(steps).mean()
    weights = at / (at @ at)
    logs = np.log(sum(part.mean(axis=1) for part in parts))
    slope = weights @ logs
    residuals = logs - logs.mean() - slope * at
    fit = math.sqrt(residuals @ residuals / (len(steps) - 2) / (at @ at))
    generator = np.random.default_rng(0)
    resampled = sum(part @ _resampling(part.shape[1], resamples, generator) for part in parts)
    sampling = (weights @ np.log(resampled)).std(ddof=1)
    found = {"value": slope, "stderr": math.hypot(sampling, fit), "sampling": sampling, "fit": fit}
    return {name: float(value) for name, value in found.items()}


def _resampling(count: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Weights (count, resamples) of the paths in bootstrap samples."""
    return generator.multinomial(count, np.full(count, 1 / count), resamples).T / count


def local_slopes(steps: tuple[int, ...], kl: list[float]) -> list[float]:
    """The slope in log-log from each point to the next."""
    return (np.diff(np.log(kl)) / np.diff(np.log(steps))).tolist()


def steps_needed(steps: tuple[int, ...], kl: list[float], target: float) -> dict[str, float | bool]:
    """The number of steps at which a falling KL comes down to the target, by lines in log-log.

    ``extrapolated``: that is outside of ``steps``, on the line through the nearest two of them.
    """
    x, y, goal = np.log(steps), np.log(kl), math.log(target)
    right = int(np.clip(np.searchsorted(-y, -goal), 1, len(steps) - 1))
    slope = (y[right] - y[right - 1]) / (x[right] - x[right - 1])
    needed = math.exp(x[right] + (goal - y[right]) / slope)
    return {"steps": needed, "extrapolated": not steps[0] <= needed <= steps[-1]}


def mean_and_error(*parts: np.ndarray) -> dict[str, float]:
    """The sum of the means of the parts, each independent values (n,), and its standard error."""
    error = math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts))
    return {"value": float(sum(part.mean() for part in parts)), "stderr": error}
