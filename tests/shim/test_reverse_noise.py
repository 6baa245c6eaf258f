"""`lgs.reverse_noise` against dense linear algebra in float64."""

import pytest
import torch

import lgs

from .gaussian import Gaussian, relative_error


def mean_error(process, sigma, sigma_next, *, d=512, draws=5, seed=0, **options):
    gaussian = Gaussian(d, 1.6, seed=seed)
    generator = torch.Generator().manual_seed(100 + seed)
    errors = []
    for _ in range(draws):
        x, z = torch.randn(2, 1, d, generator=generator, dtype=torch.float64)
        noise = lgs.reverse_noise(
            gaussian.denoiser(process), x, sigma, sigma_next, z, lgs.Options(process=process, **options)
        )
        reference = gaussian.reverse_noise(process, sigma, sigma_next, options.get("eta", 1.0), z)
        errors.append(relative_error(noise, reference))
    return sum(errors) / draws


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("process", "sigma", "sigma_next", "bounds"),
    [
        ("ve", 0.5, 0.2, {1: 0.10, 2: 0.010, 3: 0.0022, 8: 1e-5}),
        ("flow", 0.6, 0.4, {1: 0.09, 2: 0.005, 3: 0.001}),
    ],
)
def test_a_few_steps_come_close(process, sigma, sigma_next, bounds, seed):
    for steps, bound in bounds.items():
        assert mean_error(process, sigma, sigma_next, lanczos_steps=steps, seed=seed) <= bound


def test_plain_lanczos_has_the_known_errors_and_the_free_vector_lowers_them():
    for steps, plain in {1: 0.25, 2: 0.030, 3: 0.0065}.items():
        measured = mean_error("ve", 0.5, 0.2, lanczos_steps=steps, extended=False)
        assert measured == pytest.approx(plain, rel=0.15)
        assert mean_error("ve", 0.5, 0.2, lanczos_steps=steps, extended=True) < measured / 2.5


@pytest.mark.parametrize("process", ["ve", "flow"])
@pytest.mark.parametrize("jvp", ["forward", "finite-difference"])
def test_all_steps_are_exact(process, jvp):
    # A finite difference of a linear function is exact but for rounding.
    bound = 1e-9 if jvp == "forward" else 1e-6
    assert mean_error(process, 0.6, 0.4, d=32, lanczos_steps=32, jvp=jvp) < bound


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("process", "sigma", "sigma_next"), [("ve", 5.0, 1.0), ("ve", 0.1, 0.02), ("flow", 0.9, 0.5)])
def test_every_eta_has_its_covariance(process, sigma, sigma_next, eta):
    assert mean_error(process, sigma, sigma_next, d=64, lanczos_steps=40, eta=eta) < 1e-6


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_step_to_zero_draws_from_the_posterior_of_the_clean_image(eta):
    assert mean_error("ve", 0.5, 0.0, d=64, lanczos_steps=40, eta=eta) < 1e-6


def test_a_flow_can_start_at_pure_noise():
    # alpha = 0 there: the covariance of x_0 is the prior's, which is known here.
    gaussian = Gaussian(64, 1.6)
    x, z = torch.randn(2, 3, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = lgs.reverse_noise(gaussian.denoiser("flow"), x, 1.0, 0.7, z, lgs.Options(process="flow", lanczos_steps=40))
    reference = gaussian.apply(lambda lam: (0.7**2 + 0.3**2 * lam).sqrt(), z)
    assert relative_error(noise, reference) < 1e-3


def test_items_of_a_batch_are_independent():
    gaussian = Gaussian(96, 1.6)
    generator = torch.Generator().manual_seed(0)
    x, z = torch.randn(2, 5, 96, generator=generator, dtype=torch.float64)
    z *= torch.tensor([1e-3, 1.0, 50.0, 1.0, 0.0], dtype=torch.float64)[:, None]
    options = lgs.Options(lanczos_steps=2)
    together = lgs.reverse_noise(gaussian.denoiser(), x, 0.5, 0.2, z, options)
    for i in range(5):
        alone = lgs.reverse_noise(gaussian.denoiser(), x[i : i + 1], 0.5, 0.2, z[i : i + 1], options)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-13)
    assert (together[4] == 0).all()


@pytest.mark.parametrize("shape", [(2, 48), (2, 3, 4, 4), (2, 4, 3, 2, 2), (2, 1, 2, 2, 3, 4)])
def test_any_number_of_axes(shape):
    gaussian = Gaussian(48, 1.6)
    x, z = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat = gaussian.denoiser()
    noise = lgs.reverse_noise(
        lambda x, sigma: flat(x.flatten(1), sigma).reshape(x.shape), x, 0.5, 0.2, z, lgs.Options(lanczos_steps=30)
    )
    assert noise.shape == x.shape
    assert relative_error(noise, gaussian.reverse_noise("ve", 0.5, 0.2, 1.0, z.flatten(1)).reshape(shape)) < 1e-6


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03), (torch.float16, 0.01)])
def test_lower_precision(dtype, bound):
    gaussian = Gaussian(64, 1.6)
    x, z = torch.randn(2, 4, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, z = x.to(dtype), z.to(dtype)
    seen = set()

    def denoise(x, sigma):
        seen.add((x.dtype, sigma.dtype))
        return gaussian.denoiser()(x, sigma)

    noise = lgs.reverse_noise(denoise, x, 0.5, 0.2, z, lgs.Options(lanczos_steps=6, jvp="forward"))
    assert noise.dtype == dtype
    assert seen == {(dtype, dtype)}, "the model is called in the dtype of x"
    assert relative_error(noise.double(), gaussian.reverse_noise("ve", 0.5, 0.2, 1.0, z.double())) < bound


def test_isotropic_is_ddpms_variance():
    x, z = torch.randn(2, 2, 8, dtype=torch.float64)
    noise = lgs.reverse_noise(lambda x, sigma: x, x, 0.5, 0.2, z, lgs.Options(covariance="isotropic", eta=0.5))
    torch.testing.assert_close(noise, 0.5 * (0.2**2 * (0.5**2 - 0.2**2) / 0.5**2) ** 0.5 * z)
