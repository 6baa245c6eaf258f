"""What a host calls: `sample`, `reverse_noise`, `jvp` and `info`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ctypes import byref, c_double, c_void_p
from typing import Any

import torch
from torch import Tensor

from . import _engine, _native, _tensors
from ._callbacks import Call
from ._choices import Remembered
from ._precision import as_computed
from ._tensors import Lent
from .errors import Error, InvalidArgument, InvalidType, error_for
from .options import Options

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""D(x, sigma) = E[x_0 | x]: x (batch, ...), sigma (batch,), the result like x."""


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

    x (batch, ...) is floating point; the result is like it. Items are independent. ``sigmas`` must
    not rise and may end in 0. ``noise(sigma, sigma_next)`` gives standard normal noise like x for a
    step (default: ``torch.randn_like(x)``). ``callback`` gets k-diffusion's dict once a step, before
    x moves: ``x``, ``i``, ``sigma``, ``sigma_hat``, ``denoised``, and also ``options``, ``steps``, ``sigma_next``,
    ``model_evaluations``, ``jvps`` (both so far), ``jvp`` (how), ``lanczos_error`` (estimated
    relative error of the step's noise; nan without Lanczos), ``covariance_share`` (what of the
    variance of the step's noise is not of eta^2 v I: 1 - eta^2 v |z|^2 / |Sigma^(1/2) z|^2 over the
    batch; nan without noise), ``noise_variance`` (its mean square, without ``s_noise``) and
    ``ritz_values`` (those of J, (batch, products), float64, rising in each item; (batch, 0) without
    Lanczos). `lgs.Record` keeps them.

    ``diagonal(x, sigma)``, with arguments and result as of ``denoise``, is diag J, J = dD/dx, for
    covariance "diagonal-learned"; see `lgs.load_diagonal`.

    What jvp "auto" finds out is kept for ``model``, any object that lives as long as the model does
    (default: ``denoise`` itself), so that the next trajectory need not find it out again. ``denoise``
    may be called with a multiple of x's batch: the same items, in the same order, at several points.
    It may refuse that with an error.

    Raises `lgs.Error` and its kinds; what ``denoise``, ``noise``, ``callback`` or ``diagonal`` raises
    comes out as the same object.
    """
    options = Options.of(options)
    x = _check_x("x", x)
    levels, as_sigma = _check_sigmas(sigmas)
    if noise is None:
        draw = lambda _sigma, _sigma_next: torch.randn_like(x)  # noqa: E731
    else:
        draw = lambda sigma, sigma_next: noise(as_sigma(sigma), as_sigma(sigma_next))  # noqa: E731

    def report(progress: dict[str, Any]):
        for name in ("sigma", "sigma_hat", "sigma_next"):
            progress[name] = as_sigma(progress[name])
        callback(progress | {"options": options})

    engine = _engine.engine()
    function, array = engine.lib.api.sample, (c_double * len(levels))(*levels)
    asked = {"noise": draw, "progress": None if callback is None else report, "diagonal": diagonal}
    [result] = _run(engine, function, denoise, x, options, array, len(levels), results=1, model=model, **asked)
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
    the square root of the posterior covariance of x_0 itself. ``diagonal`` and ``model`` as for `sample`.
    """
    options = Options.of(options)
    x, z = _check_x("x", x), _check_x("z", z)
    sigma, sigma_next = _check_number("sigma", sigma), _check_number("sigma_next", sigma_next)
    engine = _engine.engine()
    with Lent(engine, z) as handle:
        arguments = c_double(sigma), c_double(sigma_next), handle
        function = engine.lib.api.reverse_noise
        [result] = _run(engine, function, denoise, x, options, *arguments, results=1, diagonal=diagonal, model=model)
    return result


def jvp(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    v: Tensor,
    options: Options | Mapping[str, Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """D(x, sigma) and the Jacobian-vector product J v, J = dD/dx; all (batch, ...), like x."""
    options = Options.of(options)
    x, v = _check_x("x", x), _check_x("v", v)
    sigma = _check_number("sigma", sigma)
    engine = _engine.engine()
    with Lent(engine, v) as handle:
        arguments = c_double(sigma), handle
        denoised, product = _run(engine, engine.lib.api.jvp, denoise, x, options, *arguments, results=2)
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
    are those of sigma^2 / alpha J once K is a few times as large. ``model`` as for `sample`.

    What they show: Manor and Michaeli, "On the Posterior Distribution in Denoising" (arXiv 2309.13598).
    """
    options = Options.of(options)
    x, z = _check_x("x", x), _check_x("z", z)
    sigma = _check_number("sigma", sigma)
    engine = _engine.engine()
    with Lent(engine, z) as handle:
        arguments = c_double(sigma), handle
        function = engine.lib.api.principal_components
        mean, variances, components = _run(engine, function, denoise, x, options, *arguments, results=3, model=model)
    return mean, variances, components


def info() -> dict[str, Any]:
    """Versions, engine, torch and devices; where the engine cannot be had, ``problem`` says why."""
    answer: dict[str, Any] = {"lgs": None, "engine": None, "torch": torch.__version__, "devices": [], "problem": None}
    try:
        lib = _native.library()
        answer |= {"lgs": lib.version, "library": str(lib.file)}
        engine = _engine.engine().info()
        answer |= {"engine": engine["engine"], "engine_torch": engine["torch"], "devices": engine["devices"]}
    except Error as problem:
        answer["problem"] = str(problem)
    return answer


def _run(
    engine: _engine.Engine,
    function,
    denoise: Denoiser,
    x: Tensor,
    options: Options,
    *arguments,
    results: int,
    model: object = None,
    diagonal: Denoiser | None = None,
    **callbacks,
) -> list[Tensor]:
    """Calls a function of the library that runs the model; gives the tensors that it returns.

    ``arguments`` are those after x. What is found out about the model is kept where it succeeds.
    """
    _check_process(diagonal, options)
    options = as_computed(options, x)
    remembered = Remembered(denoise if model is None else model, x, options)
    items = len(x) if x.ndim else 0
    outs = [c_void_p() for _ in range(results)]
    callbacks |= {"items": items, "choice": remembered.choice}
    with Lent(engine, x) as handle, Call(engine, denoise, diagonal=diagonal, **callbacks) as call:
        status, message = engine.lib.call(
            function, engine.handle, options.as_json(), byref(call.host()), handle, *arguments, *map(byref, outs)
        )
    tensors = [] if status else [_tensors.take(out.value) for out in outs]
    call.raise_again(status)
    if status:
        raise error_for(status, message)
    remembered.keep()
    return tensors


def _check_process(diagonal: Denoiser | None, options: Options) -> None:
    process = getattr(diagonal, "process", options.process)
    if options.covariance == "diagonal-learned" and process != options.process:
        raise InvalidArgument(
            f'diagonal: expected a network for the process "{options.process}", which this model has, got one for '
            f'"{process}"; take covariance "diagonal", which needs none'
        )


def _check_x(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise InvalidType(f"{name}: expected a torch.Tensor, got {type(value).__name__}")
    if value.device.type not in _tensors.DEVICES:
        raise InvalidArgument(f"{name}: expected a tensor on {', '.join(_tensors.DEVICES)}, got one on {value.device}")
    if value.layout != torch.strided:
        raise InvalidArgument(f"{name}: expected a dense tensor, got one of layout {value.layout}")
    return value.detach()


def _check_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as problem:
        raise InvalidType(f"{name}: expected a number, got {value!r}") from problem


def _check_sigmas(sigmas: Any) -> tuple[list[float], Callable[[float], Tensor]]:
    """The noise levels as floats, and how to give one back as the host wrote it: a 0-d tensor."""
    try:
        tensor = torch.as_tensor(sigmas)
        if tensor.ndim != 1 or tensor.dtype == torch.bool or tensor.is_complex():
            raise TypeError(f"shape {tuple(tensor.shape)}, dtype {tensor.dtype}")
        levels = [float(sigma) for sigma in tensor.tolist()]
    except (TypeError, ValueError, RuntimeError) as problem:
        raise InvalidType(
            f"sigmas: expected a list or a one-dimensional tensor of numbers, got {type(sigmas).__name__} ({problem})"
        ) from problem
    dtype = tensor.dtype if tensor.is_floating_point() else torch.get_default_dtype()
    if isinstance(sigmas, Tensor):
        # The host's own numbers: a new tensor on a GPU would have to wait for it.
        own = dict(zip(levels, tensor.detach().to(dtype), strict=True))
        return levels, own.__getitem__
    # A list of Python's floats has float64's precision.
    levels = [float(sigma) for sigma in sigmas]
    return levels, lambda sigma: torch.tensor(sigma, dtype=torch.float64)
