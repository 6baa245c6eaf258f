"""What the engine computes, against dense linear algebra in float64."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._ffi import JVP_NAMES
from .._ffi.header import Host
from .._ffi.raw import Outcome, ScriptedHost, byref, levels, prior, raw_call, tensor_of
from .._torch.handles import Lent
from .check import Checks, expect
from .gaussian import BATCH, SIGMAS, D, GaussianModel, noise_of, normal
from .refusals import accepted
from .subject import Installation

checks = Checks()
MODEL = GaussianModel()
WAYS = [name for name in JVP_NAMES if name != "auto"]


def close(came: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    expect(came.shape == expected.shape, f"{what}: expected shape {list(expected.shape)}, got {list(came.shape)}")
    error = float((came.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30))
    expect(error <= tolerance, f"{what}: expected a relative error of {tolerance:g} at the most, got {error:.3g}")


def call(
    subject: Installation,
    function: str,
    host: ScriptedHost,
    options: dict,
    x: Tensor,
    *arguments,
    struct: Any = None,
    outs: int = 1,
    wants_error: bool = True,
) -> Outcome:
    """Calls a function that runs a model; arguments that are tensors are lent."""
    engine = subject.engine
    with contextlib.ExitStack() as stack:
        stack.callback(host.finish)
        handles = [stack.enter_context(Lent(engine, v)) if isinstance(v, Tensor) else v for v in (x, *arguments)]
        pointer = byref(host.struct()) if struct is None else struct
        text = json.dumps(options).encode()
        given = (engine.handle, text, pointer, *handles)
        return raw_call(subject.library, function, *given, outs=outs, wants_error=wants_error)


def scripted(
    subject: Installation, model: Callable = MODEL, dtype: torch.dtype = torch.float64, **more
) -> ScriptedHost:
    return ScriptedHost(subject.engine, model, noise_of(dtype), MODEL.diagonal, **more)


def sampled(subject: Installation, host: ScriptedHost, options: dict, x: Tensor, struct: Host | None = None) -> Tensor:
    """The result of a trajectory that has to succeed."""
    came = call(subject, "sample", host, options, x, *levels(*SIGMAS), struct=struct)
    expect(not host.raised or came.status == 0, f"sample {options}: a callback raised {'; '.join(host.raised)}")
    accepted(came, f"sample {options}")
    expect(not host.problems, f"sample {options}: {'; '.join(host.problems)}")
    return tensor_of(came.outs[0])


def every_setting() -> Iterator[dict]:
    """Every solver and covariance, with every kind of product."""
    covariances = (
        "lanczos",
        "isotropic",
        "isotropic-large",
        "isotropic-optimal",
        "diagonal",
        "diagonal-learned",
        "spectral",
    )
    for jvp in WAYS:
        for covariance in covariances:
            yield {"covariance": covariance, "jvp": jvp, "lanczos_steps": 2, "other_steps": "multistep"}
        yield {"covariance": "lanczos", "jvp": jvp, "lanczos_steps": 2, "doubled_batch": "always", "tolerance": 0.1}
    for eta in (0.0, 0.3, 1.0):
        yield {"solver": "secant", "eta": eta, "jvp": "finite-difference"}


@checks("engine.info", "An engine says what it is, as JSON, and can be opened more than once.")
def information(subject: Installation) -> None:
    info = subject.engine.info()
    names = {"lgs", "engine", "torch", "file", "interface", "libtorch", "backend", "devices"}
    expect(names <= set(info), f"expected {', '.join(sorted(names))}, got {', '.join(info)}")
    expect("cpu" in info["devices"], f"expected the cpu among its devices, got {info['devices']}")
    expect(info["backend"] in ("CPU", "CUDA", "ROCm", "XPU"), f"expected a kind of build, got {info['backend']}")
    expect(Path(info["libtorch"]).is_file(), f"expected the file of the host's libtorch, got {info['libtorch']}")
    release = ".".join(torch.__version__.split(".")[:2])
    expect(info["torch"].startswith(release), f"expected an engine for torch {release}, got one for {info['torch']}")
    again = Installation(subject.library, subject.manifest).engine
    expect(again.info() == info, "expected the same engine the second time")
    del again
    sampled(subject, scripted(subject), {"jvp": "forward"}, normal(BATCH, D))


@checks("jvp.closed_form", "D and J v are those of the model, by every kind of product.")
def products(subject: Installation) -> None:
    x, v = normal(BATCH, D), normal(BATCH, D, seed=1)
    for way in WAYS:
        came = call(subject, "jvp", scripted(subject), {"jvp": way}, x, 0.7, v, outs=2)
        accepted(came, f"jvp {way}")
        denoised, product = map(tensor_of, came.outs)
        close(denoised, x @ MODEL.jacobian(0.7).mT, 1e-12, f"D, {way}")
        close(product, v @ MODEL.jacobian(0.7).mT, 1e-6, f"J v, {way}")


@checks(
    "reverse_noise.closed_form", "With as many products as dimensions the noise is the exact root of the covariance."
)
def noise(subject: Installation) -> None:
    x, z = normal(BATCH, D), normal(BATCH, D, seed=1)
    sigma, below, eta = 0.9, 0.4, 0.6
    v = below**2 * (sigma**2 - below**2) / sigma**2
    b = 1 - (below**2 - eta**2 * v) ** 0.5 / sigma
    eye = torch.eye(D, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(eta**2 * v * eye + b**2 * sigma**2 * MODEL.jacobian(sigma))
    expected = z @ (vectors * values.sqrt()) @ vectors.mT
    for way in WAYS:
        options = {"jvp": way, "lanczos_steps": D, "eta": eta}
        came = call(subject, "reverse_noise", scripted(subject), options, x, sigma, below, z)
        accepted(came, f"reverse_noise {way}")
        close(tensor_of(came.outs[0]), expected, 1e-5, f"reverse_noise {way}")


@checks(
    "principal_components.closed_form", "The posterior's mean, variances and components are those of its covariance."
)
def components(subject: Installation) -> None:
    x, z, sigma = normal(BATCH, D), normal(BATCH, D, seed=1), 0.9
    options = {"jvp": "forward", "lanczos_steps": D}
    came = call(subject, "principal_components", scripted(subject), options, x, sigma, z, outs=3)
    accepted(came, "principal_components")
    mean, variances, vectors = map(tensor_of, came.outs)
    close(mean, x @ MODEL.jacobian(sigma).mT, 1e-12, "the mean")
    covariance = sigma**2 * MODEL.jacobian(sigma)
    expected = torch.linalg.eigvalsh(covariance).flip(0)
    close(variances, expected.expand(BATCH, D), 1e-6, "the variances")
    for item in range(BATCH):
        close(vectors[item].mT * variances[item] @ vectors[item], covariance, 1e-6, "the covariance of the components")


@checks("teleport.closed_form", "teleport is the probability-flow ODE of its Gaussian, in both processes.")
def teleport(subject: Installation) -> None:
    x, mean, rest = normal(BATCH, D), normal(D, seed=2), 0.3
    basis = torch.linalg.qr(normal(D, 3, seed=3)).Q.contiguous()
    variances = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    covariance = basis * variances @ basis.mT + rest * (torch.eye(D, dtype=torch.float64) - basis @ basis.mT)
    values, vectors = torch.linalg.eigh(covariance)
    for process, above, below in (("ve", 2.0, 0.5), ("flow", 0.9, 0.4)):
        alpha, alpha_below = (1.0, 1.0) if process == "ve" else (1 - above, 1 - below)
        gain = ((alpha_below**2 * values + below**2) / (alpha**2 * values + above**2)).sqrt()
        expected = alpha_below * mean + (x - alpha * mean) @ (vectors * gain) @ vectors.mT
        struct, text = prior(subject.engine, mean, basis, variances, rest), json.dumps({"process": process}).encode()
        with Lent(subject.engine, x) as handle:
            arguments = (subject.engine.handle, text, byref(struct), handle, above, below)
            came = raw_call(subject.library, "teleport", *arguments)
        accepted(came, f"teleport {process}")
        close(tensor_of(came.outs[0]), expected, 1e-10, f"teleport {process}")


@checks("sample.closed_form", "With as many products as dimensions each step is the exact reverse kernel.")
def trajectory(subject: Installation) -> None:
    x, eta, eye = normal(BATCH, D), 0.7, torch.eye(D, dtype=torch.float64)
    for way in WAYS:
        host = scripted(subject)
        came = sampled(subject, host, {"jvp": way, "lanczos_steps": D, "eta": eta, "s_noise": 0.9}, x)
        expected = x
        for sigma, below in pairwise(SIGMAS[:-1]):
            v = below**2 * (sigma**2 - below**2) / sigma**2
            a = (below**2 - eta**2 * v) ** 0.5 / sigma
            values, vectors = torch.linalg.eigh(eta**2 * v * eye + (1 - a) ** 2 * sigma**2 * MODEL.jacobian(sigma))
            drawn = noise_of()(sigma, below) @ (vectors * values.sqrt()) @ vectors.mT
            expected = a * expected + (1 - a) * expected @ MODEL.jacobian(sigma).mT + 0.9 * drawn
        tolerance = 1e-9 if way == "forward" else 1e-5
        close(came, expected @ MODEL.jacobian(SIGMAS[-2]).mT, tolerance, way)
        for report, sigma in zip(host.reports, SIGMAS[:-2], strict=False):
            ritz = torch.tensor(report["ritz_values"], dtype=torch.float64)
            close(ritz, torch.linalg.eigvalsh(MODEL.jacobian(sigma)).repeat(BATCH), 1e-4, f"Ritz values, {way}")


@checks("sample.repeatable", "Every solver and covariance gives equal bits for equal noise, and leaves x alone.")
def repeatable(subject: Installation) -> None:
    x = normal(BATCH, D)
    before = x.clone()
    for options in every_setting():
        once, again = (sampled(subject, scripted(subject), options, x) for _ in range(2))
        expect(torch.equal(once, again), f"{options}: expected equal bits of two calls")
        expect(bool(torch.isfinite(once).all()), f"{options}: expected finite numbers")
        expect(torch.equal(x, before), f"{options}: expected x to be left alone")


@checks("sample.items", "Items of a batch are independent: each comes out as it does alone.")
def items(subject: Installation) -> None:
    x = normal(BATCH, D)
    for options in every_setting():
        if options.get("covariance") in ("isotropic-optimal", "isotropic-large") or "tolerance" in options:
            continue  # what these estimate is one number for all of the batch
        whole = sampled(subject, scripted(subject), options, x)
        for item in range(BATCH):
            host = scripted(subject)
            host.noise = lambda sigma, below, item=item: noise_of()(sigma, below)[item : item + 1]
            close(
                sampled(subject, host, options, x[item : item + 1].clone()), whole[item : item + 1], 1e-6, f"{options}"
            )


@checks("sample.reports", "There is a report a step, with the counts of what the host was asked.")
def reports(subject: Installation) -> None:
    for options in every_setting():
        host = scripted(subject)
        sampled(subject, host, options, normal(BATCH, D))
        steps = len(SIGMAS) - 1
        expect(len(host.reports) == steps, f"{options}: expected {steps} reports, got {len(host.reports)}")
        for i, report in enumerate(host.reports):
            place = f"{options}, report {i}"
            expect(
                (report["step"], report["steps"]) == (i, steps), f"{place}: step {report['step']} of {report['steps']}"
            )
            expect((report["sigma"], report["sigma_next"]) == SIGMAS[i : i + 2], f"{place}: sigma {report['sigma']}")
            expect(report["reserved"] == 0, f"{place}: expected reserved to be 0")
            values, x = report["ritz_values"], report["x"]
            expect(len(values) % BATCH == 0, f"{place}: {len(values)} Ritz values of {BATCH} items")
            level = torch.full((BATCH,), report["sigma"], dtype=torch.float64)
            # The secant has asked at a point near x, and goes on from there.
            close(report["denoised"], MODEL(x, level), 0.2 if "solver" in options else 1e-9, f"{place}: D(x)")
        # A call on a larger batch is as many evaluations.
        told, asked = host.reports[-1]["model_evaluations"], host.calls["denoise"]
        expect(asked <= told <= 3 * asked, f"{options}: told of {told} evaluations, asked for {asked}")
