"""Every covariance of LGS Sampler, in the graph: pictures, seeds and what each costs."""

import pytest
import torch

from .client import Client
from .graphs import SAMPLER, assert_read, with_inputs, with_node
from .test_sampling import check_pictures

DIGITS = "0123456789"
OTHERS = ["isotropic", "isotropic-optimal", "diagonal", "diagonal-learned", "spectral"]


def with_covariance(example: dict, covariance: str, **inputs: object) -> dict:
    graph = with_node(with_inputs(example, covariance=covariance, **inputs), "20", "LGSLoadDiagonal")
    graph[SAMPLER]["inputs"]["diagonal"] = ["20", 0]
    return graph


@pytest.mark.parametrize("covariance", OTHERS)
@pytest.mark.parametrize("eta", [1.0, 0.0])
def test_each_draws_the_digits_and_the_seed_decides_them(comfy: Client, example: dict, covariance: str, eta: float):
    first, other, again = (
        comfy.run(with_covariance(example, covariance, eta=eta, noise_seed=seed)) for seed in (3, 4, 3)
    )
    check_pictures(first)
    assert_read(first.images, DIGITS)
    assert len(again.steps) == 10, "not sampled anew"
    assert torch.equal(first.images, again.images)
    assert (first.images - other.images).abs().mean() > 5


def test_the_larger_of_ddpms_two_is_noisier(comfy: Client, example: dict):
    """Too noisy to be read, at ten steps: as the papers have it."""
    large, small = (comfy.run(with_covariance(example, name)) for name in ("isotropic-large", "isotropic"))
    check_pictures(small)
    assert large.outcome == "execution_success", large.details
    roughness = [(run.images[:, 1:] - run.images[:, :-1]).abs().mean() for run in (large, small)]
    assert roughness[0] > 1.2 * roughness[1]


def test_the_same_seed_gives_kindred_pictures(comfy: Client, example: dict):
    """They draw from the same noise: so a user compares covariances, and not seeds."""
    images = {name: comfy.run(with_covariance(example, name, noise_seed=3)).images for name in OTHERS}
    stranger = comfy.run(with_covariance(example, "isotropic", noise_seed=4)).images
    between_seeds = (images["isotropic"] - stranger).abs().mean()
    for name in OTHERS[1:]:
        assert 0 < (images[name] - images["isotropic"]).abs().mean() < between_seeds, name


def test_diagonal_learned_needs_its_network(comfy: Client, example: dict):
    run = comfy.run(with_inputs(example, covariance="diagonal-learned"))
    assert run.outcome == "execution_error"
    assert run.details["node_type"] == "LGSSampler"
    assert "Connect Load Diagonal Covariance" in run.details["exception_message"]


def test_probes_are_taken(comfy: Client, example: dict):
    one, many = (comfy.run(with_covariance(example, "diagonal", probes=probes)) for probes in (1, 8))
    check_pictures(many)
    assert not torch.equal(one.images, many.images)
