"""Jacobian-vector products through real networks, and the choice between the two ways."""

import logging

import pytest
import torch

import lgs
import lgs.digits

SIGMAS = (0.05, 0.2, 1.0, 3.0, 10.0, 20.0)


def central_difference(denoise, x, sigma, v):
    """J v in float64, by a method that neither of ours is."""
    h = 1e-4 * sigma * v[0].numel() ** 0.5 / v.flatten(1).norm(dim=1).reshape(-1, *[1] * (v.ndim - 1))
    level = torch.full((len(x),), sigma, dtype=torch.float64)
    return (denoise(x + h * v, level) - denoise(x - h * v, level)) / (2 * h)


def worst(value, reference):
    return ((value.double() - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)).max().item()


@pytest.fixture(scope="module")
def reference(digit_weights, real_digits):
    """x, v and J v of the bundled model in float64, at each noise level."""
    denoise = lgs.digits.Digits(lgs.digits.load_unet(digit_weights, torch.float64), torch.arange(10))
    generator = torch.Generator().manual_seed(0)
    cases = {}
    for sigma in SIGMAS:
        n, v = torch.randn(2, *real_digits.shape, generator=generator, dtype=torch.float64)
        x = real_digits + sigma * n
        cases[sigma] = x, v, central_difference(denoise, x, sigma, v)
    return denoise, cases


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize(
    ("jvp", "bound"), [("forward", 1e-4), ("finite-difference", 1e-2), ("central-difference", 1e-3), ("auto", 1e-2)]
)
def test_the_bundled_model_in_float32(digits, reference, sigma, jvp, bound):
    x, v, product = reference[1][sigma]
    denoised, ours = lgs.jvp(digits, x.float(), sigma, v.float(), {"jvp": jvp})
    assert worst(ours, product) < bound
    torch.testing.assert_close(denoised, digits(x.float(), torch.full((10,), sigma)))


@pytest.mark.parametrize(("jvp", "bound"), [("forward", 1e-6), ("finite-difference", 1e-4)])
def test_the_bundled_model_in_float64(reference, jvp, bound):
    denoise, cases = reference
    for sigma, (x, v, product) in cases.items():
        assert worst(lgs.jvp(denoise, x, sigma, v, {"jvp": jvp})[1], product) < bound


def test_with_guidance(digits, reference, digit_weights):
    unet = lgs.digits.load_unet(digit_weights, torch.float64)
    guided = lgs.digits.Digits(unet, torch.arange(10), guidance=3.0)
    for sigma, (x, v, _) in reference[1].items():
        product = central_difference(guided, x, sigma, v)
        assert worst(lgs.jvp(guided, x, sigma, v, {"jvp": "forward"})[1], product) < 1e-5


def test_j_v_is_linear_in_v_and_zero_for_zero(digits, reference):
    x, v, _ = (t.float() for t in reference[1][1.0])
    scale = torch.tensor([0.0, 1e-3, 1.0, 1e3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])[:, None, None, None]
    for jvp, bound in (("forward", 1e-5), ("finite-difference", 1e-3)):
        one = lgs.jvp(digits, x, 1.0, v, {"jvp": jvp})[1]
        scaled = lgs.jvp(digits, x, 1.0, v * scale, {"jvp": jvp})[1]
        assert (scaled[0] == 0).all()
        assert worst(scaled[1:] / scale[1:], one[1:].double()) < bound


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_hosts_grad_mode_does_not_matter_and_stays(digit_weights, reference, mode):
    x, v, product = reference[1][1.0]
    with mode():
        # Weights and inputs made in inference mode, as in ComfyUI.
        denoise = lgs.digits.Digits(lgs.digits.load_unet(digit_weights), torch.arange(10))
        x, v = x.float().clone(), v.float().clone()
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        ours = lgs.jvp(denoise, x, 1.0, v, {"jvp": "forward"})[1]
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert not ours.requires_grad
    assert worst(ours.clone(), product) < 1e-4


class Squaring(torch.autograd.Function):
    """An operation as hosts and extensions have them: a derivative for training, none in forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


def without_forward_mode(x, sigma):
    return Squaring.apply(x) / (1 + sigma[:, None] ** 2)


def test_auto_falls_back_where_an_operation_has_no_derivative_and_says_so(caplog):
    x, v = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(1))
    with caplog.at_level(logging.INFO, "lgs"):
        _, ours = lgs.jvp(without_forward_mode, x, 1.0, v, {"jvp": "auto"})
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1 and "finite differences" in said[0] and "forward mode does not work" in said[0]
    assert "NotImplementedError" in caplog.text
    assert worst(ours, (x * v).double()) < 1e-2


def test_forward_alone_does_not_fall_back():
    x, v = torch.randn(2, 2, 64)
    with pytest.raises(NotImplementedError, match="jvp"):
        lgs.jvp(without_forward_mode, x, 1.0, v, {"jvp": "forward"})


@pytest.mark.parametrize("spoil", [lambda d: d.detach(), lambda d: torch.tensor(d.tolist())])
def test_a_model_that_drops_the_tangent_is_noticed(spoil, caplog):
    """In inference mode, and through .detach() or a kernel that knows no dual numbers, forward mode
    gives no derivative and no error."""
    x, v = torch.randn(2, 2, 8)

    def denoise(x, sigma):
        return spoil(0.5 * x)

    with pytest.raises(lgs.ModelOutputError, match="carries no derivative"):
        lgs.jvp(denoise, x, 1.0, v, {"jvp": "forward"})
    _, ours = lgs.jvp(denoise, x, 1.0, v, {"jvp": "auto"})
    reference = central_difference(lambda x, sigma: denoise(x, sigma), x, 1.0, v)
    torch.testing.assert_close(ours, reference.float(), rtol=1e-3, atol=1e-3)


@torch.library.custom_op("lgs_tests::shift", mutates_args=())
def shift(x: torch.Tensor) -> torch.Tensor:
    """A kernel as hosts have them: no derivative, and no word about that in forward mode."""
    return torch.roll(x, 1, dims=1)


def test_a_tangent_that_is_lost_in_part_is_noticed(caplog):
    """Half of the model goes through a kernel that drops the tangent: forward mode gives a derivative,
    finite, and wrong."""
    x, v = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(0))

    def denoise(x, sigma):
        with torch.autograd.forward_ad._set_fwd_grad_enabled(False):
            shifted = shift(x)
        return 0.5 * x + 0.5 * shifted

    def exact(v):
        return 0.5 * v + 0.5 * torch.roll(v, 1, dims=1)

    assert worst(lgs.jvp(denoise, x, 1.0, v, {"jvp": "forward"})[1], exact(v).double()) > 0.3
    with caplog.at_level(logging.INFO, "lgs"):
        _, ours = lgs.jvp(denoise, x, 1.0, v, {"jvp": "auto"})
    assert worst(ours, exact(v).double()) < 1e-3
    assert "% off" in caplog.text and "drops the tangent" in caplog.text


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_model_that_rounds_inside_gets_a_larger_step(precision):
    """x stays float32 in ComfyUI whatever the model computes in; the host says what that is."""
    dtype = getattr(torch, precision)
    x, v = torch.randn(2, 4, 1024, generator=torch.Generator().manual_seed(0))

    def denoise(x, sigma):
        return (x.to(dtype) * 0.5).to(torch.float32)

    known, unknown = (
        worst(lgs.jvp(denoise, x, 1.0, v, {"jvp": "finite-difference", "precision": p})[1], 0.5 * v.double())
        for p in (precision, "auto")
    )
    assert known < 0.1 and known < unknown / 5


def test_a_dual_level_that_is_open_already_is_respected(digits):
    """Torch has one level of forward mode; who samples inside it gets finite differences."""
    x, v = torch.randn(2, 10, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.autograd.forward_ad.dual_level():
        _, inside = lgs.jvp(digits, x, 1.0, v, {"jvp": "auto"})
    _, outside = lgs.jvp(digits, x, 1.0, v, {"jvp": "forward"})
    assert worst(inside, outside.double()) < 0.05
