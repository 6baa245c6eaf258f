"""How far a trajectory has come, counted along with one."""

import pytest
import torch

import lgs
from lgs.steps_done import StepsDone, evaluations_of

from .gaussian import Gaussian

SIGMAS = [5.0, 2.0, 1.0, 0.5]


def counted(**options) -> tuple[list[float | None], list[float]]:
    """What was told at each evaluation, and how many steps it made them at the end of each."""
    options = lgs.Options(doubled_batch="never", **options)
    done, told, at_ends = StepsDone(options), [], []
    denoise = Gaussian(8, 1.6).denoiser()

    def evaluated(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        told.append(done.evaluated(1))
        return denoise(x, sigma)

    def stepped(step: dict) -> None:
        done.stepped(step)
        at_ends.append(done.steps)

    lgs.sample(evaluated, SIGMAS[0] * torch.randn(1, 8), SIGMAS, options, callback=stepped)
    return told, at_ends


# The secant looks once more where the list ends above 0.
@pytest.mark.parametrize("options, evaluations", [({"solver": "secant"}, 4), ({"covariance": "isotropic"}, 3)], ids=str)
def test_a_step_of_one_evaluation_has_no_parts(options: dict, evaluations: int):
    assert counted(**options) == ([None] * evaluations, [1, 2, 3])


def test_a_step_with_products_has_a_part_for_each_evaluation():
    told, at_ends = counted(lanczos_steps=3, jvp="finite-difference")
    parts = [0.25, 0.5, 0.75, None]
    assert told == [part and step + part for step in range(3) for part in parts]
    assert at_ends == [1, 2, 3]


def test_what_is_more_than_expected_shows_at_the_end_of_the_step():
    """Central differences take two evaluations for a product, which is known after the first step alone."""
    told, at_ends = counted(lanczos_steps=2, jvp="central-difference")
    later = [0.2, 0.4, 0.6, 0.8, None]
    assert told == [1 / 3, 2 / 3, None, None, None, *(part and step + part for step in (1, 2) for part in later)]
    assert at_ends == [1, 2, 3]


def test_evaluations_of_a_step():
    assert [evaluations_of(jvp, 3) for jvp in ("finite-difference", "central-difference", "forward")] == [4, 7, 3]
    assert evaluations_of("forward", 0) == 1
