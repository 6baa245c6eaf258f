"""Full-covariance diffusion sampling: Lanczos Gaussian sampling through any model.

    samples = lgs.sample(denoise, noise * sigmas[0], sigmas, lgs.Options(lanczos_steps=2, eta=0.5))

`denoise(x, sigma)` is a k-diffusion denoiser: it returns the posterior mean E[x_0 | x], with x
(batch, ...) and sigma (batch,). See `sample`, `reverse_noise`, `jvp`,
`principal_components`, `Options`, `Record`, `load_diagonal`, `info`; every error of ours is an `Error`.

The package is a thin layer over the native library beside it, which is loaded when first needed.
"""

from ._sampling import info, jvp, principal_components, reverse_noise, sample
from .diagonal import load_diagonal
from .errors import EngineError, Error, InternalError, InvalidArgument, InvalidType, ModelOutputError, TorchError
from .options import Options
from .record import Record

__all__ = [
    "EngineError",
    "Error",
    "InternalError",
    "InvalidArgument",
    "InvalidType",
    "ModelOutputError",
    "Options",
    "Record",
    "TorchError",
    "info",
    "jvp",
    "load_diagonal",
    "principal_components",
    "reverse_noise",
    "sample",
]
