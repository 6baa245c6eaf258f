import pytest
import torch

from evidence.models.distance import HeldOut, frechet_distance, kernel_distance


@pytest.fixture(scope="module")
def held_out():
    return HeldOut(aside=1000)


def gaussian(mean, covariance, n=400):
    """n features whose sample mean and sample covariance are exactly the ones given."""
    draw = torch.randn(n, len(mean), dtype=torch.float64, generator=torch.Generator().manual_seed(len(mean)))
    draw -= draw.mean(dim=0)
    whitening = torch.linalg.inv(torch.linalg.cholesky(draw.T @ draw / (n - 1)))
    return draw @ whitening.T @ torch.linalg.cholesky(covariance).T + mean


def square_root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.sqrt().diag() @ vectors.T


def test_frechet_distance_is_the_closed_form_between_gaussians():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(2, 64, 64, dtype=torch.float64, generator=generator)
    c1, c2 = mixing @ mixing.mT / 64 + 0.1 * torch.eye(64, dtype=torch.float64)
    m1, m2 = torch.randn(2, 64, dtype=torch.float64, generator=generator)
    root = square_root(c1)
    expected = (m1 - m2).square().sum() + (c1 + c2 - 2 * square_root(root @ c2 @ root)).trace()

    found = frechet_distance(gaussian(m1, c1), gaussian(m2, c2))

    assert found == pytest.approx(expected.item(), rel=1e-8)


def test_kernel_distance_is_the_unbiased_estimate():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 50, 64, dtype=torch.float64, generator=generator)
    y = y + 0.3

    def kernel(a, b):
        return (a @ b.T / 64 + 1) ** 3

    off = ~torch.eye(50, dtype=torch.bool)
    expected = kernel(x, x)[off].mean() + kernel(y, y)[off].mean() - 2 * kernel(x, y).mean()

    assert kernel_distance(x, y) == pytest.approx(expected.item(), rel=1e-8)


def test_kernel_distance_leaves_the_global_generator_alone():
    x, y = torch.randn(2, 50, 64, dtype=torch.float64)
    before = torch.get_rng_state()

    first = kernel_distance(x, y)

    assert torch.get_rng_state().equal(before)
    assert kernel_distance(x, y) == first


def test_real_digits_are_near_noise_is_far(held_out):
    real = held_out.distances(*held_out.real)
    noise = torch.rand(1000, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    far = held_out.distances(noise, held_out.real[1])

    assert (real.images, real.reference) == (1000, 4000)
    assert real.as_requested > 0.99
    assert real.variety == pytest.approx(1, abs=0.05)
    assert far.frechet > 100 * real.frechet
    assert far.kernel > 100 * abs(real.kernel)
    assert far.as_requested < 0.3


def test_two_halves_of_the_real_digits_are_as_near_as_can_be():
    halves = HeldOut(aside=2500)

    distances = halves.distances(*halves.real)

    assert 0 < distances.frechet < 0.05
    assert abs(distances.kernel) < 0.01


def test_less_variety_is_farther_and_is_told(held_out):
    images, labels = held_out.real
    means = torch.stack([images[labels == digit].mean(dim=0) for digit in range(10)])

    real = held_out.distances(images, labels)
    nearer = held_out.distances(images + 0.1 * (means[labels] - images), labels)

    assert nearer.frechet > 2 * real.frechet
    assert nearer.variety == pytest.approx(0.9**2 * real.variety, rel=1e-4)


def test_what_was_not_asked_for_is_not_judged(held_out):
    images, labels = held_out.real

    any_digit = held_out.distances(images, None)
    one_of_each = held_out.distances(images[:10], labels[:10])

    assert any_digit.as_requested is None and any_digit.variety is None
    assert any_digit.frechet == held_out.distances(images, labels).frechet
    assert one_of_each.as_requested is not None and one_of_each.variety is None


def test_real_digits_aside_come_in_order_and_are_not_in_the_reference(held_out):
    images, labels = held_out.real

    assert labels.equal(torch.arange(10).repeat(100))
    assert len(images.unique(dim=0)) == 1000
    assert not (torch.cdist(held_out._features(images), held_out.reference) == 0).any()


@pytest.mark.parametrize("aside", [-10, 15, 2510])
def test_a_wrong_number_aside_is_named(aside):
    with pytest.raises(ValueError, match=rf"aside: expected a multiple of 10 .* got {aside}"):
        HeldOut(aside=aside)


def test_images_without_their_labels_are_refused(held_out):
    images, labels = held_out.real
    with pytest.raises(ValueError, match="got 20 images and 10 labels"):
        held_out.distances(images[:20], labels[:10])
    with pytest.raises(ValueError, match="at least 2 images"):
        held_out.distances(images[:1], None)
