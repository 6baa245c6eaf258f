"""What samples are measured by, against held-out pictures. All but the last two see no labels.

    frechet, kernel   `evidence.models.distance`: FID's and KID's formulas, in a classifier's features
    recall            share of real pictures among the generated ones' neighbours (Kynkaanniemi et al.,
                      arXiv 1904.06991), in the same features
    coverage          share of real pictures with a generated one among their own neighbours (Naeem et
                      al., arXiv 2002.09797); both from the authors' package ``prdc``, k = 5
    sliced            sliced Wasserstein distance of order 2 (Bonneel et al., 2015) of the pixels, from POT
    as_requested     share that the classifier reads as what was asked for
    variety           variance among pictures of one kind, real ones' being 1

Recall and coverage compare with as many real pictures as there are generated ones. All depend on how
many those are: compare sets of one size with each other, and with real pictures in such sets.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings

import ot
from prdc import compute_prdc
from scipy.stats import t as student_t
from torch import Tensor

from evidence.models.data import DATA_SETS
from evidence.models.distance import HeldOut

NEIGHBOURS = 5
PROJECTIONS = 200

METRICS = {
    "frechet": "Fréchet distance",
    "kernel": "kernel distance",
    "recall": "recall",
    "coverage": "coverage",
    "sliced": "sliced Wasserstein",
    "as_requested": "classified as requested",
    "variety": "variety",
}
"""Names for people. Of the distances, less is better; of recall, coverage and what is classified as requested, more."""


class Reference(HeldOut):
    """The half of a data set's held-out pictures that the report measures against, and in `real` the other half.

    That one shows what real pictures get. Defaults are tuned with ``tuning``, against it: so that what they
    are reported to get was not chosen for.
    """

    def __init__(self, data: str, *, tuning: bool = False):
        images, _ = DATA_SETS[data].held_out()
        super().__init__(aside=len(images) // 2, data=data, swapped=tuning)

    def measure(self, images: Tensor, labels: Tensor | None) -> dict[str, float]:
        """Each of `METRICS` of images (n, channels, 32, 32) that were asked for as labels (n,); the last two only
        where they were."""
        images = images.clamp(-1, 1)
        distances = self.distances(images, labels)
        measured = {
            "frechet": distances.frechet,
            "kernel": distances.kernel,
            **neighbours(self.reference[: len(images)], self._features(images)),
            "sliced": sliced_distance(self.others[0].flatten(1), images.flatten(1)),
        }
        if labels is None:
            return measured
        return measured | {"as_requested": distances.as_requested, "variety": distances.variety}


def neighbours(reference: Tensor, features: Tensor) -> dict[str, float]:
    """Recall and coverage of features (n, d) against a reference (n', d)."""
    # It prints how many there are, and scikit-learn warns where no warning filter is set that its threads could have.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*sklearn\.utils\.parallel")
        found = compute_prdc(reference.numpy(), features.numpy(), nearest_k=NEIGHBOURS)
    return {name: float(found[name]) for name in ("recall", "coverage")}


def sliced_distance(reference: Tensor, images: Tensor) -> float:
    """Of two sets (n, d) and (n', d), along `PROJECTIONS` directions, always the same ones."""
    x, y = (pixels.double().numpy() for pixels in (reference, images))
    return float(ot.sliced_wasserstein_distance(x, y, n_projections=PROJECTIONS, p=2, seed=0))


def mean_and_error(groups: list[float]) -> tuple[float, float | None]:
    """The mean over groups and its standard error, of which a single group has none."""
    mean = math.fsum(groups) / len(groups)
    if len(groups) < 2:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in groups) / (len(groups) - 1)
    return mean, math.sqrt(variance / len(groups))


def sign(differences: list[float]) -> int:
    """1 or -1 where their mean is above or below 0 with 95 % confidence, by Student's t; otherwise 0.

    Two standard errors would be wrong 12 times in 100 with five groups, and 30 times with two.
    """
    mean, error = mean_and_error(differences)
    if error is None or abs(mean) <= student_t.ppf(0.975, len(differences) - 1) * error:
        return 0
    return 1 if mean > 0 else -1
