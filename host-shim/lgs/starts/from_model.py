"""What a model's answers at high noise say of the data that it draws, prompted and guided as it will be.

For Gaussian data of variance l along a direction and x = sigma z, pure noise, in the variance exploding convention,

    D = m + l / (l + s^2) (s z - m),    s = sigma / alpha
    sd of D = l s / (l + s^2),          mean of D = m s^2 / (l + s^2)

so that l and m follow from the mean and the covariance of D over a few z. The idea of taking a trajectory's first steps
from mean and covariance: Wang and Vastola, "The Unreasonable Effectiveness of Gaussian Score Approximation for
Diffusion Models" and analytical teleportation (arXiv 2412.09726); finding them in the model's own answers is ours.
"""

from __future__ import annotations

from torch import Tensor


def variance_of_data(variance_of_answers: Tensor, level: float) -> Tensor:
    """l for each variance of D along a direction, at the noise level s = sigma / alpha.

    D varies by less than s however much the data do; a direction along which it varies as much, by chance, is taken
    for one of variance 9 s^2.
    """
    sd = variance_of_answers.clamp_min(0).sqrt().clamp_max(0.9 * level)
    return level**2 * sd / (level - sd)


def mean_of_data(mean_of_answers: Tensor, basis: Tensor, variances: Tensor, rest: float, level: float) -> Tensor:
    """m (d,) for the mean of D (d,), with the data's components: ``basis`` (d, r), ``variances`` (r,), ``rest``."""
    of_rest = 1 + rest / level**2
    along = basis.T @ mean_of_answers
    return of_rest * mean_of_answers + basis @ ((1 + variances / level**2 - of_rest) * along)
