"""Full-covariance diffusion sampling: Lanczos Gaussian sampling through any model.

    samples = lgs.sample(denoise, noise * sigmas[0], sigmas, lgs.Options(lanczos_steps=2, eta=0.5))

`denoise(x, sigma)` is a k-diffusion denoiser: it returns the posterior mean E[x_0 | x], with x
(batch, ...) and sigma (batch,). See `sample`, `reverse_noise`, `jvp`, `principal_components`,
`Trajectory`, `Options`, `Record`, `GaussianPrior`, `load_diagonal`, `info`; every error of ours is an `Error`.

The package is a thin layer over the native library beside it. Both that library and torch are loaded
when first needed: `lgs.batch` runs without either.

    sampling.py, options.py, errors.py     the API
    trajectory.py                          a trajectory for hosts that own the loop
    record.py, summary.py, plot.py         what a run was like: kept, in words, as a picture
    steps_done.py                          how far a run has come
    diagonal.py, digits.py                 networks: the learned diagonal, the bundled model
    diffusers/                             a scheduler for pipelines of diffusers
    starts/                                where a trajectory starts: Gaussian priors and teleportation
    installation.py                        what is installed here
    node_manifest.py                       what the manifest declares of the nodes, for the hosts'
    batch/                                 headless batches of ComfyUI
    _ffi/, _torch/                         the C interface; what is private to torch
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .diagonal import load_diagonal
    from .errors import (
        EngineError,
        Error,
        InternalError,
        InvalidArgument,
        InvalidType,
        ModelOutputError,
        OutOfMemory,
        TorchError,
    )
    from .installation import info
    from .options import Options
    from .record import Record
    from .sampling import jvp, principal_components, reverse_noise, sample
    from .starts import GaussianPrior
    from .trajectory import Trajectory

_MODULE_OF = {
    "EngineError": "errors",
    "Error": "errors",
    "GaussianPrior": "starts",
    "InternalError": "errors",
    "InvalidArgument": "errors",
    "InvalidType": "errors",
    "ModelOutputError": "errors",
    "Options": "options",
    "OutOfMemory": "errors",
    "Record": "record",
    "TorchError": "errors",
    "Trajectory": "trajectory",
    "info": "installation",
    "jvp": "sampling",
    "load_diagonal": "diagonal",
    "principal_components": "sampling",
    "reverse_noise": "sampling",
    "sample": "sampling",
}

__all__ = [
    "EngineError",
    "Error",
    "GaussianPrior",
    "InternalError",
    "InvalidArgument",
    "InvalidType",
    "ModelOutputError",
    "Options",
    "OutOfMemory",
    "Record",
    "TorchError",
    "Trajectory",
    "info",
    "jvp",
    "load_diagonal",
    "principal_components",
    "reverse_noise",
    "sample",
]


def __getattr__(name: str) -> Any:
    if name == "starts":
        return importlib.import_module(".starts", __name__)
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
