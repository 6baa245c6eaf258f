"""`lgs.sample`: whole trajectories, against closed forms and against other samplers' formulas."""

import logging
import math
import subprocess
import sys

import pytest
import torch

import lgs

from .gaussian import Gaussian, ddpm_sigmas

# Relative Frechet distances of the design, measured before the plugin was written, over 4,000 samples.
TABLE = {
    5: {"isotropic": 0.213, 2: 0.0076, 3: 0.0026, 5: 0.0009, "ddim": 0.130},
    10: {"isotropic": 0.083, 2: 0.0016, 3: 0.0008, 5: 0.0001, "ddim": 0.036},
    20: {"isotropic": 0.024, 2: 0.0008, 3: 0.0003, 5: 0.0002, "ddim": 0.012},
}


@pytest.mark.parametrize("steps", TABLE)
def test_the_reference_table_is_reproduced(steps):
    count = 4000
    gaussian = Gaussian(1024, 2.0, rotated=False)
    lam = gaussian.eigenvalues
    torch.manual_seed(steps)
    sigmas = ddpm_sigmas(steps)
    start = torch.randn(count, 1024) * (lam + sigmas[0] ** 2).sqrt().float()
    for row, reference in TABLE[steps].items():
        options = {
            "isotropic": lgs.Options(covariance="isotropic"),
            "ddim": lgs.Options(covariance="isotropic", eta=0.0),
        }.get(row) or lgs.Options(lanczos_steps=row, extended=False, jvp="forward")
        samples = lgs.sample(gaussian.denoiser(), start, sigmas, options).double()
        # Along the axes the coordinates are independent and centred, and their mean square is known.
        deviation = samples.square().mean(0).sqrt()
        distance = ((deviation - lam.sqrt()).square().sum() / lam.sum()).item()
        # A standard deviation from n samples is off by 1 / sqrt(2 n): to first order, and squared.
        error = ((2 * (deviation - lam.sqrt()) * deviation).square().sum() / (2 * count)).sqrt() / lam.sum()
        noise = 3 * math.sqrt(2) * error.item() + 3e-4
        assert abs(distance - reference) < noise, f"{row}: {distance:.5f}, expected {reference} within {noise:.5f}"


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("process", "sigmas"), [("ve", [8.0, 3.0, 1.0, 0.4, 0.1]), ("flow", [1.0, 0.8, 0.5, 0.2])])
def test_the_full_covariance_gives_the_exact_law_at_any_number_of_steps(process, sigmas, eta):
    """For Gaussian data the exact reverse kernel is Gaussian, so the marginals are exact for any steps."""
    gaussian = Gaussian(8, 1.0, rotated=False)
    alpha = 1.0 if process == "ve" else 1.0 - sigmas[-1]
    expected = alpha**2 * gaussian.eigenvalues + sigmas[-1] ** 2
    start_alpha = 1.0 if process == "ve" else 1.0 - sigmas[0]
    torch.manual_seed(0)
    count = 40_000
    start = torch.randn(count, 8, dtype=torch.float64) * (start_alpha**2 * gaussian.eigenvalues + sigmas[0] ** 2).sqrt()
    options = lgs.Options(lanczos_steps=8, eta=eta, process=process)
    samples = lgs.sample(gaussian.denoiser(process), start, sigmas, options)
    ratio = samples.square().mean(0) / expected
    assert (ratio - 1).abs().max() < 5 * math.sqrt(2 / count), ratio


def test_isotropic_is_k_diffusions_euler_ancestral():
    """Another derivation of the same kernel: sigma_up and sigma_down instead of A, B and v."""
    gaussian = Gaussian(16, 1.0)
    denoise = gaussian.denoiser()
    sigmas = torch.tensor([5.0, 2.0, 0.7, 0.2, 0.0], dtype=torch.float64)
    draws = [torch.randn(3, 16, dtype=torch.float64) for _ in range(4)]
    x = start = torch.randn(3, 16, dtype=torch.float64) * 5
    for i, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        sigma_up = (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
        sigma_down = (sigma_next**2 - sigma_up**2) ** 0.5
        slope = (x - denoise(x, sigma.expand(3))) / sigma
        x = x + slope * (sigma_down - sigma) + draws[i] * sigma_up
    remaining = iter(draws)
    ours = lgs.sample(
        denoise, start, sigmas, lgs.Options(covariance="isotropic"), noise=lambda sigma, sigma_next: next(remaining)
    )
    torch.testing.assert_close(ours, x)


def test_isotropic_at_eta_0_is_ddim_and_draws_no_noise():
    gaussian = Gaussian(16, 1.0)
    denoise = gaussian.denoiser("flow")
    sigmas = [1.0, 0.6, 0.3, 0.0]
    x = start = torch.randn(3, 16, dtype=torch.float64)
    for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
        velocity = (x - denoise(x, torch.full((3,), sigma))) / sigma
        x = x + velocity * (sigma_next - sigma)

    def noise(sigma, sigma_next):
        raise AssertionError("DDIM needs no noise")

    ours = lgs.sample(denoise, start, sigmas, lgs.Options(covariance="isotropic", eta=0, process="flow"), noise=noise)
    torch.testing.assert_close(ours, x)


def test_the_last_step_to_zero_gives_the_posterior_mean():
    gaussian = Gaussian(16, 1.0)
    x = torch.randn(3, 16, dtype=torch.float64)
    ours = lgs.sample(gaussian.denoiser(), x, [0.5, 0.0])
    torch.testing.assert_close(ours, gaussian.denoiser()(x, torch.full((3,), 0.5)))


def test_noise_is_k_diffusions_noise_sampler():
    gaussian = Gaussian(16, 1.0)
    sigmas = torch.tensor([5.0, 2.0, 0.7, 0.0])
    asked = []

    def noise(sigma, sigma_next):
        asked.append((sigma.clone(), sigma_next.clone()))
        return torch.randn(2, 16)

    x = torch.randn(2, 16)
    torch.manual_seed(3)
    one = lgs.sample(gaussian.denoiser(), x, sigmas, noise=noise)
    assert asked == [(sigmas[0], sigmas[1]), (sigmas[1], sigmas[2])]
    torch.manual_seed(3)
    assert torch.equal(one, lgs.sample(gaussian.denoiser(), x, sigmas)), "the default noise is torch's"
    torch.manual_seed(4)
    assert not torch.equal(one, lgs.sample(gaussian.denoiser(), x, sigmas))


def test_s_noise_scales_what_a_step_adds():
    gaussian = Gaussian(16, 1.0)
    x, z = torch.randn(2, 2, 16, dtype=torch.float64)
    half, one, none = (
        lgs.sample(gaussian.denoiser(), x, [0.5, 0.2], {"s_noise": s}, noise=lambda *_: z) for s in (0.5, 1.0, 0.0)
    )
    torch.testing.assert_close(one - half, half - none)
    torch.testing.assert_close(one - none, lgs.reverse_noise(gaussian.denoiser(), x, 0.5, 0.2, z))


@pytest.mark.parametrize(
    ("options", "evaluations", "jvps"),
    [
        ({"jvp": "finite-difference", "lanczos_steps": 3}, [4, 8, 9], [3, 6, 6]),
        ({"jvp": "forward", "lanczos_steps": 3}, [3, 6, 7], [3, 6, 6]),
        ({"covariance": "isotropic"}, [1, 2, 3], [0, 0, 0]),
    ],
)
def test_the_callback_is_k_diffusions_and_counts(options, evaluations, jvps):
    gaussian = Gaussian(16, 1.0)
    calls, seen = [], []

    def denoise(x, sigma):
        calls.append(sigma)
        assert sigma.shape == (2,)
        return gaussian.denoiser()(x, sigma)

    sigmas = torch.tensor([5.0, 2.0, 0.7, 0.0])
    x = torch.randn(2, 16)
    result = lgs.sample(denoise, x, sigmas, options, callback=seen.append)
    assert [p["i"] for p in seen] == [0, 1, 2] and all(p["steps"] == 3 for p in seen)
    assert [p["sigma"] for p in seen] == list(sigmas[:-1]) == [p["sigma_hat"] for p in seen]
    assert [p["model_evaluations"] for p in seen] == evaluations
    assert len(calls) == evaluations[-1]
    assert [p["jvps"] for p in seen] == jvps
    torch.testing.assert_close(seen[0]["x"], x)
    for p in seen:
        torch.testing.assert_close(p["denoised"], gaussian.denoiser()(p["x"], p["sigma"].expand(2)))
    assert torch.equal(result, seen[-1]["denoised"])
    has_error = options.get("covariance") != "isotropic"
    assert [not math.isnan(p["lanczos_error"]) for p in seen] == [has_error, has_error, False]


def test_a_tolerance_saves_products_and_keeps_the_error():
    gaussian = Gaussian(512, 1.6)
    x, z = torch.randn(2, 4, 512, dtype=torch.float64)
    reference = gaussian.reverse_noise("ve", 0.5, 0.2, 1.0, z)
    used = {}
    for tolerance in (0.1, 0.01, 0.001):
        seen = []
        options = lgs.Options(lanczos_steps=20, tolerance=tolerance)
        noise = lgs.reverse_noise(gaussian.denoiser(), x, 0.5, 0.2, z, options)
        result = lgs.sample(gaussian.denoiser(), x, [0.5, 0.2], options, noise=lambda *_: z, callback=seen.append)
        assert ((noise - reference).norm(dim=1) / result.norm(dim=1)).max() < tolerance
        used[tolerance] = seen[0]["jvps"]
    assert used[0.1] < used[0.01] < used[0.001] < 20


def test_below_a_noise_level_steps_are_isotropic_and_cost_one_evaluation():
    gaussian = Gaussian(64, 1.6)
    x = torch.randn(2, 64, dtype=torch.float64) * 5
    sigmas = [5.0, 2.0, 1.0, 0.3, 0.0]
    seen = []
    options = {"lanczos_steps": 3, "jvp": "finite-difference"}

    def run(sigmas, x, **more):
        torch.manual_seed(0)
        return lgs.sample(gaussian.denoiser(), x, sigmas, options | more, callback=seen.append)

    split = run(sigmas, x, covariance_min_sigma=2.0)
    assert [p["model_evaluations"] for p in seen] == [4, 8, 9, 10]
    seen.clear()
    high = run([5.0, 2.0, 1.0], x)
    low = lgs.sample(gaussian.denoiser(), high, [1.0, 0.3, 0.0], {"covariance": "isotropic"})
    torch.testing.assert_close(split, low)
    z = torch.randn(2, 64, dtype=torch.float64)
    torch.testing.assert_close(
        lgs.reverse_noise(gaussian.denoiser(), x, 1.0, 0.3, z, {"covariance_min_sigma": 2.0}),
        lgs.reverse_noise(gaussian.denoiser(), x, 1.0, 0.3, z, {"covariance": "isotropic"}),
    )


def test_equal_noise_levels_stand_still():
    gaussian = Gaussian(16, 1.0)
    x = torch.randn(2, 16, dtype=torch.float64)
    torch.testing.assert_close(lgs.sample(gaussian.denoiser(), x, [0.5, 0.5]), x)


def test_a_shifted_schedule_that_rounds_above_one_begins_at_one():
    """ComfyUI's formula for shifted flows in float32; 1 of 100 shifts gives 1 + 1.2e-7 for the first level."""
    steps = torch.linspace(1, 0, 6)
    shifts = torch.arange(1, 2000) / 100
    schedules = shifts[:, None] * steps / (1 + (shifts[:, None] - 1) * steps)
    rounded = schedules[schedules[:, 0] > 1]
    assert len(rounded) > 3
    gaussian, x = Gaussian(16, 1.0), torch.randn(2, 16, generator=torch.Generator().manual_seed(0)).double()
    for sigmas in rounded[:3]:
        seen, asked, drawn = [], [], []

        def denoise(x, sigma, asked=asked):
            asked.append(sigma[0].item())
            return gaussian.denoiser("flow")(x, sigma)

        def noise(sigma, sigma_next, drawn=drawn):
            drawn.append((sigma, sigma_next))
            return torch.ones_like(x)

        for options in ({"solver": "secant"}, {"jvp": "finite-difference"}):
            one = torch.cat([torch.ones(1), sigmas[1:]])
            came = lgs.sample(denoise, x, sigmas, options | {"process": "flow"}, noise=noise, callback=seen.append)
            expected = lgs.sample(denoise, x, one, options | {"process": "flow"}, noise=noise)
            assert torch.equal(came, expected) and came.isfinite().all()
        assert max(asked) == 1.0
        assert seen[0]["sigma"] == sigmas[0] and drawn[0][0] == sigmas[0], "the schedule's own number"
    with pytest.raises(lgs.InvalidArgument, match="at most 1 for a flow, got 1.0001"):
        lgs.sample(gaussian.denoiser("flow"), x, [1.0001, 0.5, 0.0], {"process": "flow"})


@pytest.mark.parametrize("process", ["ve", "flow"])
@pytest.mark.parametrize("options", [{}, {"solver": "secant", "eta": 0.5}, {"covariance": "isotropic"}])
def test_restarts_keep_the_law(process, options):
    """Arrived at the law of the data with noise, a rise and another way down give it again."""
    gaussian, generator = Gaussian(8, 1.0), torch.Generator().manual_seed(0)
    levels = [6.0, 2.5, 1.0, 0.4, 1.5, 0.7, 0.3]
    sigmas = levels if process == "ve" else [level / (1 + level) for level in levels]
    alpha = [1.0 if process == "ve" else 1 - sigma for sigma in sigmas]
    count = 20000

    def deviations(index):
        return (alpha[index] ** 2 * gaussian.eigenvalues + sigmas[index] ** 2).sqrt()

    normal = torch.randn(count, 8, generator=generator, dtype=torch.float64)
    start = gaussian.apply(lambda _: deviations(0), normal)
    fine = options.get("covariance") == "isotropic"  # of first order: many small steps
    between = 40 if fine else 1
    schedule = [sigmas[0]]
    for sigma, sigma_next in zip(sigmas, sigmas[1:], strict=False):
        parts = between if sigma_next < sigma else 1
        schedule += [sigma * (sigma_next / sigma) ** (part / parts) for part in range(1, parts + 1)]
    torch.manual_seed(1)
    came = lgs.sample(gaussian.denoiser(process), start, schedule, options | {"process": process, "lanczos_steps": 3})
    found = (came @ gaussian.vectors).square().mean(0).sqrt()
    torch.testing.assert_close(found, deviations(-1), rtol=4 / math.sqrt(2 * count) + 0.01, atol=0)


def test_a_flipped_schedule_is_told_that_it_is_not_supported():
    with pytest.raises(lgs.InvalidArgument, match="unsampling, a flipped schedule"):
        lgs.sample(lambda x, sigma: 0.5 * x, torch.randn(2, 8), [0.0, 0.5, 2.0, 8.0])


def test_a_covariance_between_crossed_levels_is_told_to_be_nowhere(caplog):
    caplog.set_level(logging.WARNING, "lgs")
    x = torch.ones(1, 4)
    levels = {"covariance_min_sigma": 20.0, "covariance_max_sigma": 10.0}
    for options in (levels, levels | {"covariance": "isotropic"}, {"covariance_min_sigma": 10.0}):
        lgs.sample(lambda x, sigma: x / 2, x, [30.0, 15.0, 0.0], options | {"jvp": "finite-difference"})
    [message] = [record.getMessage() for record in caplog.records]
    assert "used at no noise level: covariance_min_sigma, 20, is above covariance_max_sigma, 10" in message


PICTURE = """
import hashlib, sys
import torch
import lgs

x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
torch.manual_seed(2)
convolution = torch.nn.Conv2d(3, 3, 3, padding=1)

def denoise(x, sigma):
    return torch.tanh(convolution(x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2).sqrt()))

found = hashlib.sha256()
ways = {"jvp": "forward"}, {"jvp": "central-difference"}, {"solver": "secant", "eta": 0.5}
for options in (*ways, {"covariance": "diagonal", "jvp": "forward"}):
    torch.manual_seed(3)
    with torch.no_grad():
        found.update(lgs.sample(denoise, 8 * x, [8.0, 3.0, 1.0, 0.2, 0.0], options).numpy().tobytes())
print(found.hexdigest())
"""


def test_the_same_seed_is_the_same_picture_in_six_processes():
    processes = [subprocess.Popen([sys.executable, "-c", PICTURE], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    pictures = {process.communicate()[0] for process in processes}
    assert all(process.returncode == 0 for process in processes) and len(pictures) == 1
