"""Digests of what the plugin gives for fixed seeds: run it with two builds, and compare.

    PYTHONPATH=PACK python tests/evidence/fixed_seeds.py > digests.json

PACK is an assembled folder. A change of structure leaves every digest as it was, on one machine: kernels differ
between processors. How products are computed is fixed here, as jvp="auto" decides by time.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import lgs
from lgs.digits import Digits, load_unet

PACK = Path(lgs.__file__).resolve().parent.parent

NUMBERS = ("model_evaluations", "jvps", "lanczos_error", "covariance_share", "noise_variance")
"""Of a step's progress."""

SETTINGS = {
    "lanczos, K = 1, forward": {"lanczos_steps": 1, "jvp": "forward"},
    "lanczos, K = 3": {"lanczos_steps": 3, "jvp": "finite-difference"},
    "lanczos, K = 3, plain, eta 0.5": {"lanczos_steps": 3, "jvp": "finite-difference", "extended": False, "eta": 0.5},
    "lanczos, K = 2, doubled batch": {"lanczos_steps": 2, "jvp": "central-difference", "doubled_batch": "always"},
    "lanczos, tolerance": {"lanczos_steps": 6, "jvp": "finite-difference", "tolerance": 0.01},
    # By the older names of the two bounds, which builds before and after their renaming take.
    "the node's": {
        "lanczos_steps": 1,
        "jvp": "finite-difference",
        "eta": 0.5,
        "lanczos_min_sigma": 0.5,
        "lanczos_max_sigma": 10.0,
        "other_steps": "multistep",
        "s_noise": 1.05,
    },
    "multistep alone, eta 0": {
        "covariance": "isotropic",
        "lanczos_min_sigma": 10000.0,
        "other_steps": "multistep",
        "eta": 0.0,
    },
    "multistep alone, eta 1": {"covariance": "isotropic", "lanczos_min_sigma": 10000.0, "other_steps": "multistep"},
    "isotropic": {"covariance": "isotropic"},
    "isotropic-large": {"covariance": "isotropic-large"},
    "isotropic-optimal": {"covariance": "isotropic-optimal", "jvp": "finite-difference"},
    "diagonal, 3 probes": {"covariance": "diagonal", "jvp": "central-difference", "probes": 3},
    "diagonal-learned": {"covariance": "diagonal-learned"},
    "spectral": {"covariance": "spectral", "jvp": "forward"},
}


def digest(*tensors: Tensor) -> str:
    """Of the bytes, dtypes and shapes of tensors."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


class AnyBatch(Digits):
    """The bundled model for a multiple of its batch: the same labels again and again."""

    def denoise(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        return super().denoise(x, sigma, context.repeat(len(x) // len(context), 1, 1))


class Mixture:
    """Four Gaussians of standard deviation 0.3 in pixels: a posterior mean in closed form, of a flow or not."""

    def __init__(self, process: str):
        generator = torch.Generator().manual_seed(7)
        self.means = torch.randn(4, 1, 16, 16, generator=generator)
        self.process = process

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.reshape(-1, 1, 1, 1).float()
        alpha = 1 - s if self.process == "flow" else torch.ones_like(s)
        y, means = x.float(), self.means
        total = alpha**2 * 0.09 + s**2
        logits = -((y[:, None] - alpha[:, None] * means) ** 2).sum(dim=(2, 3, 4)) / (2 * total.reshape(-1, 1))
        weights = logits.softmax(dim=1)
        mean = torch.einsum("bk,kchw->bchw", weights, means)
        return (mean + alpha * 0.09 / total * (y - alpha * mean)).to(x.dtype)


def denoiser(process: str, dtype: torch.dtype) -> tuple[Callable, Tensor, list[float], Callable]:
    """A model, x (3, ...) at the first noise level, the levels, and a diagonal of J."""
    if process == "ve":
        unet = load_unet(PACK / "models" / "digits.safetensors").to(dtype)
        model = AnyBatch(unet, torch.arange(3))
        labels = torch.arange(3)
        diagonal = lgs.load_diagonal(PACK / "models" / "digits-diagonal.safetensors", labels)
        sigmas = [20.0, 8.0, 3.0, 1.2, 0.4, 0.1, 0.0]
        x = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * sigmas[0]
        return model, x.to(dtype), sigmas, diagonal
    model = Mixture("flow")
    x = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    diagonal = lambda x, sigma: torch.full_like(x, 0.2)  # noqa: E731
    return model, x.to(dtype), [1.0, 0.9, 0.7, 0.5, 0.25, 0.1, 0.0], diagonal


def trajectory(process: str, dtype: torch.dtype, setting: dict) -> str:
    """Of the samples of a trajectory, and of what each step reports."""
    model, x, sigmas, diagonal = denoiser(process, dtype)
    generator = torch.Generator().manual_seed(2)
    reported: list[Tensor] = []

    def callback(progress: dict) -> None:
        numbers = [float(progress[name]) for name in NUMBERS]
        reported.extend(
            [
                torch.tensor(numbers, dtype=torch.float64),
                progress["ritz_values"],
                progress["x"].clone(),
                progress["denoised"].clone(),
            ]
        )

    noise = lambda *_: torch.randn(x.shape, generator=generator).to(dtype)  # noqa: E731
    options = {**setting, "process": process}
    result = lgs.sample(model, x, sigmas, options, noise=noise, callback=callback, diagonal=diagonal)
    return digest(result, *reported)


def functions(process: str, dtype: torch.dtype) -> dict[str, str]:
    """Of what the other functions give in one step, for each way of computing products."""
    model, x, sigmas, diagonal = denoiser(process, dtype)
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    x = x * (sigmas[3] / sigmas[0])
    found = {}
    for jvp in ("forward", "finite-difference", "central-difference"):
        options = {"process": process, "jvp": jvp, "lanczos_steps": 4}
        found[f"reverse_noise, {jvp}"] = digest(lgs.reverse_noise(model, x, sigmas[3], sigmas[4], z, options))
        found[f"jvp, {jvp}"] = digest(*lgs.jvp(model, x, sigmas[3], z, options))
        found[f"principal_components, {jvp}"] = digest(*lgs.principal_components(model, x, sigmas[3], z, options))
    return found


def main() -> None:
    torch.set_num_threads(1)
    found = {}
    for process in ("ve", "flow"):
        for dtype in (torch.float32, torch.bfloat16):
            place = f"{process}, {str(dtype).removeprefix('torch.')}"
            for name, setting in SETTINGS.items():
                found[f"{place}: {name}"] = trajectory(process, dtype, setting)
            found |= {f"{place}: {name}": value for name, value in functions(process, dtype).items()}
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
