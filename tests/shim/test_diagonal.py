"""Learned diagonals: what comes out of one, and arguments that do not fit. Files that do not are in ``attacks``."""

import pytest
import torch

import lgs
from lgs.diagonal import Description, Diagonal, DiagonalNetwork, load_diagonal

from . import assembled

SHIPPED = assembled.FOLDER / "models" / "digits-diagonal.safetensors"


@pytest.fixture(scope="module")
def diagonal():
    return load_diagonal(SHIPPED)


def noisy(images, sigma, seed=0):
    return images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))


# What comes out


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_result_is_like_x_and_computed_in_float32(diagonal, real_digits, dtype):
    x = noisy(real_digits, 1.0).to(dtype)
    found = diagonal(x, torch.ones(10, dtype=dtype))
    assert (found.shape, found.dtype, found.device) == (x.shape, dtype, x.device)
    assert torch.equal(found, diagonal(x.float(), torch.ones(10)).to(dtype))


def test_items_are_independent(real_digits):
    labels = torch.arange(10)
    x, sigma = noisy(real_digits, 1.0), torch.logspace(-1, 1, 10)
    together = load_diagonal(SHIPPED, labels)(x, sigma)
    for i in (0, 7):
        alone = load_diagonal(SHIPPED, labels[i : i + 1])(x[i : i + 1], sigma[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_a_batch_may_be_a_multiple_of_the_labels(real_digits):
    """The engine calls with the same items at several points, in the same order."""
    diagonal = load_diagonal(SHIPPED, torch.tensor([3, 8]))
    x, sigma = noisy(real_digits[:2], 5.0), torch.full((2,), 5.0)
    torch.testing.assert_close(diagonal(x.repeat(3, 1, 1, 1), sigma.repeat(3)), diagonal(x, sigma).repeat(3, 1, 1, 1))


def test_labels_matter_and_none_is_any(diagonal, real_digits):
    x, sigma = noisy(real_digits, 10.0), torch.full((10,), 10.0)
    any_digit, ones = (load_diagonal(SHIPPED, torch.tensor([label]))(x, sigma) for label in (10, 1))
    assert torch.equal(any_digit, diagonal(x, sigma))
    assert ones.mean() < 0.8 * any_digit.mean(), "ones vary less than digits do"


def test_one_noise_level_for_all(diagonal, real_digits):
    x = noisy(real_digits, 2.0)
    assert torch.equal(diagonal(x, torch.tensor(2.0)), diagonal(x, torch.full((10,), 2.0)))


@pytest.mark.parametrize(("inside", "beyond"), [(0.02, 0.0199), (40.0, 40.01)])
def test_it_goes_on_beyond_its_noise_levels(diagonal, real_digits, inside, beyond):
    x = noisy(real_digits, inside)
    here, there = (diagonal(x, torch.full((10,), sigma)) for sigma in (inside, beyond))
    assert (here - there).norm() < 0.02 * here.norm()


@pytest.mark.parametrize("sigma", [0.0, 1e-6, 1e4])
def test_far_beyond_its_noise_levels_the_covariance_is_at_most_the_prior_s(diagonal, real_digits, sigma):
    covariance = sigma**2 * diagonal(noisy(real_digits, sigma), torch.full((10,), sigma))
    assert covariance.isfinite().all() and covariance.abs().max() < 2.0


def test_it_leaves_x_and_the_state_of_torch_alone(diagonal, real_digits):
    x = noisy(real_digits, 1.0)
    before = x.clone()
    with torch.inference_mode():
        inferred = load_diagonal(SHIPPED)(x, torch.ones(10))
    assert torch.equal(inferred, diagonal(x, torch.ones(10))) and torch.equal(x, before)
    assert not diagonal(x.requires_grad_(), torch.ones(10)).requires_grad


# Arguments that do not fit


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 64, 64), (2, 1, 32), (1, 32, 32), (2, 1, 1, 32, 32), ()])
def test_another_model_s_x(diagonal, shape):
    with pytest.raises(
        lgs.InvalidArgument, match=r"lgs-digits: expected x of shape \(batch, 1, 32, 32\), got"
    ) as error:
        diagonal(torch.zeros(shape), torch.ones(()))
    assert str(shape) in str(error.value) and "Use the diagonal of this model" in str(error.value)


def test_a_batch_that_is_no_multiple_of_the_labels():
    with pytest.raises(lgs.InvalidArgument, match="a multiple of its 2 labels, got 3 items"):
        load_diagonal(SHIPPED, torch.tensor([0, 1]))(torch.zeros(3, 1, 32, 32), torch.ones(3))


@pytest.mark.parametrize(
    ("labels", "kind", "part"),
    [
        (torch.tensor([11]), ValueError, "expected 0 to 10 (10: any), got 11 to 11"),
        (torch.tensor([-1, 3]), ValueError, "got -1 to 3"),
        (torch.tensor([0.5]), TypeError, "one integer for each item, got torch.float32 (1,)"),
        (torch.tensor(3), TypeError, "got torch.int64 ()"),
        (torch.tensor([], dtype=torch.int64), TypeError, "got torch.int64 (0,)"),
    ],
)
def test_labels_that_are_none(labels, kind, part):
    with pytest.raises(lgs.Error) as error:
        load_diagonal(SHIPPED, labels)
    assert isinstance(error.value, kind) and part in str(error.value)


# Sampling with one


def test_a_step_has_its_covariance(digits, diagonal, real_digits):
    sigma, sigma_next = 2.0, 1.0
    x, z = noisy(real_digits, sigma), torch.randn(real_digits.shape, generator=torch.Generator().manual_seed(1))
    options = lgs.Options(covariance="diagonal-learned")
    noise = lgs.reverse_noise(digits, x, sigma, sigma_next, z, options, diagonal=diagonal)
    share = 1 - sigma_next**2 / sigma**2
    variance = sigma_next**2 * share + (share * sigma) ** 2 * diagonal(x, torch.full((10,), sigma)).clamp(min=0)
    torch.testing.assert_close(noise, variance.sqrt() * z, rtol=1e-5, atol=1e-6)


def test_sampling_with_another_model_s_diagonal_says_so(diagonal):
    options = lgs.Options(covariance="diagonal-learned")
    x = torch.randn(2, 3, 8, 8)
    with pytest.raises(lgs.InvalidArgument, match="lgs-digits: expected x of shape"):
        lgs.sample(lambda x, sigma: x / 2, x, [2.0, 1.0, 0.0], options, diagonal=diagonal)


def test_a_diagonal_of_a_network_of_one_s_own():
    """Without a file: any network of the class, of any size."""
    network = DiagonalNetwork(Description(model="tiny", channels=3, height=8, width=12, features=8, inner=8))
    x = torch.randn(2, 3, 8, 12)
    assert Diagonal(network)(x, torch.ones(2)).shape == x.shape
