"""What a host calls: `sample`, `reverse_noise`, `jvp`, `principal_components`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ._arguments import Denoiser, as_computed, check_number, check_process, check_sigmas, check_tensor
from ._ffi.model_calls import call_with_model
from ._jvp_cache import CachedChoice
from .options import Options


def sample(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    options: Options | Mapping[str, Any] | None = None,
    *,
    noise: Callable[[Tensor, Tensor], Tensor] | None = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    diagonal: Denoiser | None = None,
    model: object = None,
) -> Tensor:
    """Draws samples: a trajectory from x at noise level ``sigmas[0]`` to ``sigmas[-1]``.

    With covariance "lanczos" it is the Lanczos Gaussian sampler (arXiv 2605.22723); see `lgs.Options` for the
    others and their sources.

    x (batch, ...) is floating point; the result is like it. Items are independent. ``sigmas`` (steps + 1,), in the
    model's own scale (0 to 1 for a flow), may end in 0. Where they rise, which they must not at the end, x is drawn
    from the forward process, at no evaluation (restart sampling, arXiv 2306.14878). ``noise(sigma, sigma_next)`` gives
    standard normal noise like x for a step (default: ``torch.randn_like(x)``); its arguments are 0-d tensors of
    ``sigmas``.

    ``callback`` is called once a step with a dict: k-diffusion's ``x``, ``i``, ``sigma``, ``sigma_hat`` and
    ``denoised``, which are those that the step started from, and

    * ``options``, ``steps``, ``sigma_next``;
    * ``model_evaluations`` and ``jvps`` so far, and ``jvp``, the method of the latter;
    * ``lanczos_error``: the estimated relative error of the step's noise; nan without Lanczos;
    * ``covariance_share``: the share of the variance of the step's noise that is not eta^2 v I,
      1 - eta^2 v |z|^2 / |Sigma^(1/2) z|^2 over the batch; nan without noise;
    * ``noise_variance``: the mean square of that noise, without ``s_noise``;
    * ``ritz_values``: those of J, (batch, products), float64, rising in each item; of the secant (batch, octaves), at
      ``sigma_next``; (batch, 0) without either.

    `lgs.Record` is such a callback, and keeps them.

    ``diagonal(x, sigma)``, with arguments and result as of ``denoise``, is diag J, J = dD/dx, for
    covariance "diagonal-learned"; see `lgs.load_diagonal`.

    The method that jvp "auto" chooses is cached for ``model``, any object that lives as long as the model does
    (default: ``denoise`` itself), so that the next trajectory begins with it. ``denoise`` may be called with a
    multiple of x's batch: the same items, in the same order, at several points. It may refuse that with an error.

    Raises `lgs.Error` and its kinds; what ``denoise``, ``noise``, ``callback`` or ``diagonal`` raises
    comes out as the same object.
    """
    options = Options.of(options)
    x = check_tensor("x", x)
    levels, as_sigma = check_sigmas(sigmas)
    if noise is None:
        draw = lambda _sigma, _sigma_next: torch.randn_like(x)  # noqa: E731
    else:
        draw = lambda sigma, sigma_next: noise(as_sigma(sigma), as_sigma(sigma_next))  # noqa: E731

    report = None if callback is None else _reporting(callback, options, as_sigma)
    callbacks = {"noise": draw, "progress": report, "diagonal": diagonal}
    [result] = _run("sample", denoise, x, options, levels, model=model, **callbacks)
    return result


def reverse_noise(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    z: Tensor,
    options: Options | Mapping[str, Any] | None = None,
    *,
    diagonal: Denoiser | None = None,
    model: object = None,
) -> Tensor:
    """The noise of one reverse step: Sigma^(1/2) z, Sigma the covariance of x at ``sigma_next``
    given x at ``sigma``.

    x and z (batch, ...), the result is like x; ``s_noise`` is not applied. ``sigma_next`` 0 gives
    the square root of the posterior covariance of x_0 itself. ``diagonal``, ``model`` and errors as for `sample`.
    The covariance and its square root by Lanczos: arXiv 2605.22723.
    """
    options = Options.of(options)
    x, z = check_tensor("x", x), check_tensor("z", z)
    sigma, sigma_next = check_number("sigma", sigma), check_number("sigma_next", sigma_next)
    asked = {"tensor": z, "diagonal": diagonal, "model": model}
    [result] = _run("reverse_noise", denoise, x, options, sigma, sigma_next, **asked)
    return result


def jvp(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    v: Tensor,
    options: Options | Mapping[str, Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """D(x, sigma) and the Jacobian-vector product J v, J = dD/dx.

    x and v (batch, ...), on one device, of any floating point dtype; both results are like x. Errors as for `sample`.
    """
    options = Options.of(options)
    x, v = check_tensor("x", x), check_tensor("v", v)
    sigma = check_number("sigma", sigma)
    denoised, product = _run("jvp", denoise, x, options, sigma, tensor=v, results=2)
    return denoised, product


def principal_components(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    z: Tensor,
    options: Options | Mapping[str, Any] | None = None,
    *,
    model: object = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The posterior of x_0 given x at ``sigma``: its mean, and the variances along the directions in which
    it varies most.

    x and z (batch, ...), z standard normal: the directions are looked for in the Krylov space of
    K = ``lanczos_steps`` Jacobian-vector products that begins with it. Gives D(x, sigma), like x; the
    variances, (batch, K), falling; and the directions, (batch, K, ...), orthonormal. The leading ones
    are those of sigma^2 / alpha J once K is a few times as large. ``model`` and errors as for `sample`.

    Source: Manor and Michaeli, "On the Posterior Distribution in Denoising" (arXiv 2309.13598).
    """
    options = Options.of(options)
    x, z = check_tensor("x", x), check_tensor("z", z)
    sigma = check_number("sigma", sigma)
    asked = {"tensor": z, "results": 3, "model": model}
    mean, variances, components = _run("principal_components", denoise, x, options, sigma, **asked)
    return mean, variances, components


def _reporting(
    callback: Callable[[dict[str, Any]], Any], options: Options, as_sigma: Callable[[float], Tensor]
) -> Callable[[dict[str, Any]], None]:
    """A callback of the library's that gives this one what `sample` promises."""

    def report(progress: dict[str, Any]) -> None:
        for name in ("sigma", "sigma_hat", "sigma_next"):
            progress[name] = as_sigma(progress[name])
        callback(progress | {"options": options})

    return report


def _run(
    function: str,
    denoise: Denoiser,
    x: Tensor,
    options: Options,
    *numbers: float | list[float],
    tensor: Tensor | None = None,
    results: int = 1,
    model: object = None,
    **callbacks: Callable[..., Any] | None,
) -> list[Tensor]:
    """Calls a function of the library that runs the model. What it chose for the model is cached if it succeeds."""
    check_process(callbacks.get("diagonal"), options)
    options = as_computed(options, x)
    cached = CachedChoice(denoise if model is None else model, x, options)
    given = (function, options.as_json(), x, numbers, tensor)
    made = call_with_model(*given, results=results, denoise=denoise, choice=cached.struct, **callbacks)
    cached.store()
    return made
