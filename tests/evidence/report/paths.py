"""KLs along paths through the mixture of `evidence.report.mixture`: by formula, and of the product's own noise.

What each function returns is a sum over the steps, for each path by itself: x_t = x_0 + sigma_t eps with the
same x_0 and eps at every level, whatever the number of steps and the covariance.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

import lgs
from evidence.threads import one_thread

from . import laws, mixture
from .kernels import NAMES, basis_of, log_spaced, simplified, starts, step_kl


def path_kl(smallest: float, steps: int, count: int, block: int, version: str) -> dict[str, np.ndarray]:
    """The sum of `step_kl` over the steps for each path (count,) of a block.

    ``smallest`` is `separated_mixture`'s; ``version`` tells the cache of other files.
    """
    model = mixture.separated_mixture(smallest)
    clean, eps = starts(model, count, block)
    total = dict.fromkeys(NAMES, 0.0)
    for sigma, sigma_next in itertools.pairwise(log_spaced(steps)):
        for name, kl in step_kl(model, clean + sigma * eps, sigma, sigma_next).items():
            total[name] += kl
    return {name: kl.numpy() for name, kl in total.items()}


def product_kl(case: str, options: dict, steps: int, count: int, version: str) -> dict[str, np.ndarray]:
    """What the product's own noise adds to the negentropy along a path of so many steps, (count,).

    ``case``: the name of a covariance that is diagonal in a known basis, "full" (K = d Lanczos steps: linear
    in z) or "lanczos" (fewer: not linear). ``kl`` by `evidence.report.laws`; ``error`` is the largest relative
    error of a noise on the path, measured against what the structure gives exactly.
    """
    model, options = mixture.separated_mixture(), lgs.Options(jvp="forward", **options)
    clean, eps = starts(model, count, 0)
    generator = torch.Generator().manual_seed(1)
    kl, error = torch.zeros(2, count, dtype=torch.float64)
    for sigma, sigma_next in itertools.pairwise(log_spaced(steps)):
        x, z = clean + sigma * eps, torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        exact = model.reverse_covariance(x, sigma, sigma_next)

        def noise(x: Tensor, z: Tensor, step=(sigma, sigma_next)) -> Tensor:
            return lgs.reverse_noise(model.denoised, x, *step, z, options)

        drawn = noise(x, z)
        if case in ("full", "lanczos"):
            values, vectors = torch.linalg.eigh(exact)
            ideal = (vectors @ (values.sqrt()[:, :, None] * (vectors.mT @ z[:, :, None])))[:, :, 0]
        else:
            basis = basis_of(case, model.dimension)
            ideal = z @ basis.T * simplified(case, exact, sigma, sigma_next).sqrt() @ basis
        if case == "full":
            kl += laws.kl_to_linear(noise, x, exact)
        elif case == "lanczos":
            kl += laws.kl_of_homogeneous(noise, x, z, exact)
        else:
            kl += laws.kl_to_diagonal(drawn, z, exact, basis)
        error = torch.maximum(error, (drawn - ideal).norm(dim=1) / ideal.norm(dim=1))
    return {"kl": kl.numpy(), "error": error.numpy()}


LOOKED_INTO = 32
"""Steps of a path of the secant whose KL is taken, at most: one of each stretch, drawn at random, stands for it."""


@one_thread()
def secant_kl(steps: int, count: int, version: str) -> dict[str, np.ndarray]:
    """KL(p(x_s | the path so far) || q(x_s | x_t)) of the secant, eta = 1, summed over the steps of its own paths,
    (count,): what it leaves out and what no Gaussian can have, together, and the other way round than the rest.

    p by the change of variables from z, whose Jacobian is by central differences; log q by Bayes' rule. Of each draw
    r - 1 - log r, r = q/p, is taken: its mean is the KL, as that of r is 1, and its spread is of second order.

    Raises ArithmeticError where the step is not one to one in z.
    """
    model, h = mixture.separated_mixture(), 1e-5
    clean, eps = starts(model, count, 0)
    generator = torch.Generator().manual_seed(1)
    levels, d = log_spaced(steps), model.dimension
    z = torch.randn(steps, count, d, generator=generator, dtype=torch.float64)
    moved = h * torch.eye(d, dtype=torch.float64)
    moved = torch.cat([torch.zeros(1, d, dtype=torch.float64), moved, -moved])[:, None]
    total = torch.zeros(count, dtype=torch.float64)

    def reached(last: int, shift: Tensor) -> Tensor:
        """x after that step, (shifts, count, d), the noise of the last one shifted."""
        of = len(shift)
        draws = iter([*z[:last].repeat(1, of, 1), (z[last] + shift).reshape(-1, d)])
        x = (clean + levels[0] * eps).repeat(of, 1)
        options = {"solver": "secant", "eta": 1.0}
        x = lgs.sample(model.denoised, x, levels[: last + 2], options, noise=lambda *_: next(draws))
        return x.reshape(of, count, d)

    stretches = torch.linspace(0, steps, min(steps, LOOKED_INTO) + 1).long().tolist()
    for first, end in itertools.pairwise(stretches):
        step = int(torch.randint(first, end, (1,), generator=generator))
        t, s = levels[step], levels[step + 1]
        x_t = clean + t * eps if step == 0 else reached(step - 1, moved[:1])[0]
        x_s, *images = reached(step, moved)
        jacobian = torch.stack(images[:d]).sub(torch.stack(images[d:])).movedim(0, 1) / (2 * h)
        sign, log_det = torch.linalg.slogdet(jacobian)
        if (sign <= 0).any():
            raise ArithmeticError(
                f"expected a step that is one to one in z, got det <= 0 at {(sign <= 0).sum()} points"
            )
        log_p = -(z[step].square().sum(dim=1) + d * math.log(2 * math.pi)) / 2 - log_det
        gap = t**2 - s**2
        forward = -((x_t - x_s).square().sum(dim=1) / gap + d * math.log(2 * math.pi * gap)) / 2
        log_r = forward + model.log_density(x_s, s) - model.log_density(x_t, t) - log_p
        total += (end - first) * (log_r.expm1() - log_r)
    return {"kl": total.numpy()}
