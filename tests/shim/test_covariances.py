"""The covariances beside Lanczos', through Python: closed forms, their price, and the callback ``diagonal``."""

import math

import pytest
import torch

import lgs

from .gaussian import Gaussian, relative_error

SIGMAS = [5.0, 2.0, 1.0, 0.5, 0.0]
PROBED = ["isotropic-optimal", "diagonal", "spectral"]
OTHERS = ["isotropic", "isotropic-large", "diagonal-learned"]


def shrink(x, sigma):
    return torch.tanh(x / (1 + sigma.reshape(-1, *[1] * (x.ndim - 1)) ** 2))


def half(x, sigma):
    return torch.full_like(x, 0.5)


@pytest.mark.parametrize("process", ["ve", "flow"])
def test_with_enough_probes_they_are_the_closed_form(process):
    # Off-diagonal entries that are small beside the diagonal's differences, so that 65,536 probes are enough.
    gaussian = Gaussian(8, 0.4)
    sigma, sigma_next, z = 0.6, 0.3, torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    variances = gaussian.reverse_variance(process, sigma, sigma_next, 1.0)
    diagonal = (gaussian.vectors**2) @ variances
    assert (diagonal / variances.mean() - 1).abs().max() > 0.05, "the two are told apart"
    for covariance, expected in {"isotropic-optimal": variances.mean(), "diagonal": diagonal}.items():
        options = {"covariance": covariance, "probes": 65536, "process": process, "jvp": "finite-difference"}
        noise = lgs.reverse_noise(gaussian.denoiser(process), torch.ones_like(z), sigma, sigma_next, z, options)
        assert relative_error(noise, z * expected.sqrt()) < 1e-3


def test_ddpms_two_choices():
    x, z = torch.randn(2, 3, 16, dtype=torch.float64)
    sigma, sigma_next = 2.0, 0.5
    small = lgs.reverse_noise(shrink, x, sigma, sigma_next, z, {"covariance": "isotropic"})
    assert relative_error(small, z * math.sqrt(sigma_next**2 * (1 - sigma_next**2 / sigma**2))) < 1e-12
    large = lgs.reverse_noise(shrink, x, sigma, sigma_next, z, {"covariance": "isotropic-large"})
    assert relative_error(large, z * math.sqrt(sigma**2 - sigma_next**2)) < 1e-12


@pytest.mark.parametrize("covariance", [*PROBED, *OTHERS, "lanczos"])
@pytest.mark.parametrize("shape", [(2, 3, 16, 8), (1, 4, 2, 8, 8), (3, 7), (2, 1, 1, 1)])
def test_every_shape_and_the_price(covariance, shape):
    seen = []
    x = torch.randn(shape)
    options = {"covariance": covariance, "jvp": "finite-difference", "lanczos_steps": 1}
    result = lgs.sample(shrink, x, SIGMAS, options, callback=seen.append, diagonal=half)
    assert result.shape == shape and result.dtype == x.dtype and torch.isfinite(result).all()
    extra = 0 if covariance in OTHERS else 3
    assert (seen[-1]["model_evaluations"], seen[-1]["jvps"]) == (4 + extra, extra)


@pytest.mark.parametrize("covariance", [*PROBED, *OTHERS])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_dtype(covariance, dtype):
    x = torch.randn(2, 1, 8, 8).to(dtype)
    result = lgs.sample(shrink, x, SIGMAS, {"covariance": covariance}, diagonal=half)
    assert result.dtype == dtype and torch.isfinite(result).all()


@pytest.mark.parametrize("covariance", PROBED)
def test_the_same_noise_gives_the_same_picture_whatever_the_batch(covariance):
    x, *drawn = torch.randn(4, 3, 1, 8, 8, dtype=torch.float64)

    def trajectory(items):
        noise = iter(drawn)
        options = {"covariance": covariance, "jvp": "forward"}
        return lgs.sample(shrink, x[items], SIGMAS, options, noise=lambda *_: next(noise)[items])

    together = trajectory(slice(None))
    assert torch.equal(trajectory(slice(None)), together)
    for item in range(3):
        torch.testing.assert_close(trajectory(slice(item, item + 1)), together[item : item + 1], rtol=1e-9, atol=1e-9)


def test_the_diagonal_is_asked_for_at_each_noisy_step_like_the_model():
    asked = []

    def diagonal(x, sigma):
        asked.append((tuple(x.shape), x.dtype, sigma.tolist()))
        return half(x, sigma)

    x = torch.randn(2, 5, dtype=torch.float16)
    lgs.sample(shrink, x, SIGMAS, {"covariance": "diagonal-learned"}, diagonal=diagonal)
    assert asked == [((2, 5), torch.float16, [sigma] * 2) for sigma in SIGMAS[:3]]
    asked.clear()
    lgs.sample(shrink, x, SIGMAS, {"covariance": "diagonal"}, diagonal=diagonal)
    assert not asked, "another covariance makes no use of it"


def test_the_learned_diagonal_is_the_diagonal():
    gaussian = Gaussian(16, 1.6)
    x, z = torch.randn(2, 2, 16, dtype=torch.float64)

    def diagonal(x, sigma):
        return ((gaussian.vectors**2) @ (gaussian.eigenvalues / (gaussian.eigenvalues + sigma[0] ** 2))).expand_as(x)

    options = {"covariance": "diagonal-learned", "eta": 0.5}
    noise = lgs.reverse_noise(gaussian.denoiser(), x, 1.0, 0.4, z, options, diagonal=diagonal)
    expected = (gaussian.vectors**2) @ gaussian.reverse_variance("ve", 1.0, 0.4, 0.5)
    assert relative_error(noise, z * expected.sqrt()) < 1e-12


@pytest.mark.parametrize("options", [{}, {"covariance_min_sigma": 100.0}], ids=["everywhere", "nowhere"])
def test_without_a_network_it_is_refused_before_the_model_runs(options):
    def never(x, sigma):
        pytest.fail("the model was called")

    with pytest.raises(lgs.InvalidArgument, match='diagonal: expected a network.*"diagonal-learned".*got none'):
        lgs.sample(never, torch.ones(1, 4), SIGMAS, {"covariance": "diagonal-learned"} | options)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, _: x[:, :3], "step 1 of 4 .*diagonal.*expected shape.*got shape"),
        (lambda x, _: x * math.nan, "step 1 of 4 .*diagonal.*NaN or infinity"),
        (lambda x, _: x.long(), "step 1 of 4 .*diagonal.*got int64"),
        (lambda x, _: 3.0, "diagonal: expected it to return a torch.Tensor, got float"),
    ],
)
def test_a_diagonal_that_cannot_be_used(answer, words):
    with pytest.raises(lgs.Error, match=words):
        lgs.sample(shrink, torch.randn(2, 5), SIGMAS, {"covariance": "diagonal-learned"}, diagonal=answer)


def test_a_network_for_another_process_is_refused():
    def diagonal(x, sigma):
        return half(x, sigma)

    diagonal.process = "ve"
    options = {"covariance": "diagonal-learned", "process": "flow"}
    with pytest.raises(lgs.InvalidArgument, match='expected a network for the process "flow".*got one for "ve"'):
        lgs.sample(shrink, torch.randn(2, 5), [0.9, 0.5, 0.0], options, diagonal=diagonal)
    x = torch.randn(2, 5)
    assert lgs.sample(shrink, x, SIGMAS, options | {"process": "ve"}, diagonal=diagonal).isfinite().all()
    # As the message says, another covariance makes no use of it: it may stay wired.
    for covariance in ("diagonal", "lanczos"):
        unused = options | {"covariance": covariance}
        assert lgs.sample(shrink, x, [0.9, 0.5, 0.0], unused, diagonal=diagonal).isfinite().all()


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, KeyboardInterrupt])
def test_what_the_network_raises_comes_out_as_it_is(kind):
    error = kind("from the network")

    def diagonal(x, sigma):
        raise error

    with pytest.raises(kind) as caught:
        lgs.sample(shrink, torch.randn(2, 5), SIGMAS, {"covariance": "diagonal-learned"}, diagonal=diagonal)
    assert caught.value is error
    assert torch.isfinite(lgs.sample(shrink, torch.randn(2, 5), SIGMAS)).all(), "and the next call works"
