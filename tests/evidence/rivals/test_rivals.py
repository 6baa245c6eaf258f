"""Every rival, from every source that has it, against what is known in closed form.

ComfyUI's run where COMFYUI_PATH names a checkout:

    COMFYUI_PATH=/path/to/ComfyUI pytest tests/evidence/rivals

The data are N(mu, diag(v)), D is affine, and so is every sampler in the noise that it is given. So one batch tells
the law of the samples exactly: a trajectory without noise has their mean, and one with a unit in a single draw has
what that draw adds to their standard deviation.
"""

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evidence import rivals
from evidence.report.samplers import karras_sigmas
from evidence.rivals import (
    DETERMINISTIC,
    PROCESSES,
    RIVALS,
    SOURCES,
    Missing,
    evaluations,
    find,
    host,
    sample,
    schedulers,
)
from evidence.rivals.schedulers import Scheduler

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers", "ignore::DeprecationWarning:comfy")
HOW = "to run these, set COMFYUI_PATH to a checkout of ComfyUI, 0.29.0 for all of them"
MEAN = torch.tensor([-0.5, 0.0, 0.3, 1.0], dtype=torch.float64)
VARIANCES = torch.tensor([0.04, 0.25, 1.0, 4.0], dtype=torch.float64)

ORDERS = {
    "euler": 1,
    "euler_ancestral": 1,
    "heun": 2,
    "dpmpp_2m": 2,
    "dpmpp_2m_sde": 2,
    "dpmpp_3m_sde": 2,  # 3, but for its first steps
    "uni_pc": 3,
    "uni_pc_bh2": 3,
    "ipndm": 2,  # 4 where levels are evenly spaced, but for its first steps
    "deis": 2,  # 3, but for its first steps
    "res_multistep": 2,
    "er_sde": 2,
    "sa_solver": 2,  # 3, but for its first steps
    "gradient_estimation": 1,  # twice the second-order term, its default
    "seeds_2": 2,
    "exp_heun_2_x0_sde": 2,
}
"""Of the error in the standard deviation of the samples, in 1/steps."""

UNIPC_END = 0.001
"""Where UniPC of ComfyUI stops in place of 0."""


@pytest.fixture
def doubles():
    """Tensors without a dtype are of 64 bits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def levels(steps, process="ve", highest=10.0, lowest=0.1):
    """The same ratios of data to noise for both."""
    sigmas = karras_sigmas(steps, highest, lowest).double()
    return sigmas if process == "ve" else sigmas / (1 + sigmas)


def alpha(sigma, process):
    return 1 - sigma if process == "flow" else torch.ones_like(sigma)


def denoiser(process="ve"):
    def denoise(x, sigma):
        sigma = sigma.view(-1, *[1] * (x.ndim - 1)).double()
        a = alpha(sigma, process)
        return (MEAN + a * VARIANCES / (a**2 * VARIANCES + sigma**2) * (x - a * MEAN)).to(x.dtype)

    return denoise


def curved(process="ve"):
    """D for pixels of N(-1/2, 1/16) or N(1/2, 1/16), each with probability 1/2."""

    def denoise(x, sigma):
        a = alpha(sigma, process).view(-1, *[1] * (x.ndim - 1))
        # A flow's x/alpha is variance exploding's.
        x, variance = x / a, (sigma.view_as(a) / a) ** 2
        centre = 0.5 * torch.tanh(0.5 * x / (variance + 1 / 16))
        return (x / 16 + variance * centre) / (variance + 1 / 16)

    return denoise


def normal(seed=0, shape=(3, 1, 8, 8), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return lambda *_: torch.randn(shape, generator=generator, dtype=dtype)


def run(id, source, process="ve", denoise=None, steps=8, dtype=torch.float64, seed=0):
    sigmas, noise = levels(steps, process).to(dtype), normal(seed, dtype=dtype)
    return sample(id, denoise or curved(process), noise() * sigmas[0], sigmas, noise, process, source)


def available(id, process, source):
    """Skips where this machine lacks the rival; where the source does not have it at all, tells so."""
    if source == "ComfyUI" and rivals.checkout() is None:
        pytest.skip(HOW)
    try:
        find(id, process, source)
    except Missing as problem:
        pytest.skip(str(problem))


def mean_and_deviation(id, process, source, steps):
    """Of the samples, pixel by pixel, by propagating every draw of noise."""
    sigmas, drawn = levels(steps, process), 0
    start = alpha(sigmas[0], process)
    batch = 2 * steps + 2

    def noise(*_):
        nonlocal drawn
        drawn += 1
        return torch.eye(batch, dtype=torch.float64)[drawn + 1].view(-1, 1, 1, 1).expand(batch, 1, 1, 4)

    x = (start * MEAN).repeat(batch, 1, 1, 1)
    x[1] += (start**2 * VARIANCES + sigmas[0] ** 2).sqrt()
    samples = sample(id, denoiser(process), x, sigmas, noise, process, source)
    return samples[0], (samples[1:] - samples[0]).square().sum(dim=0).sqrt()


def exact(id, process, source):
    """What they come to with many steps: D at the last level above 0, where x has the law that it should."""
    sigma = levels(2, process)[-2]
    a = alpha(sigma, process)
    deviation = (a**2 * VARIANCES + sigma**2).sqrt()
    mean, denoised = MEAN, a * VARIANCES / deviation
    if source == "ComfyUI" and id.startswith("uni_pc"):
        left = UNIPC_END / sigma
        mean, denoised = left * a * MEAN + (1 - left) * MEAN, left * deviation + (1 - left) * denoised
    return mean, denoised


CASES = [
    (id, process, source)
    for id, rival in RIVALS.items()
    for process in PROCESSES
    for source in SOURCES
    if {"k-diffusion": rival.k_diffusion, "ComfyUI": rival.host, "diffusers": rival.scheduler}[source]
    and not (source == "k-diffusion" and rival.stochastic and process == "flow")
    and not (source == "diffusers" and process not in rival.scheduler.processes)
]
"""Whatever should be there, but for the checkout."""


@pytest.mark.parametrize(("id", "process", "source"), CASES)
def test_the_law_of_the_samples_is_reached_with_the_order_of_the_method(id, process, source, doubles):
    available(id, process, source)
    wanted_mean, wanted = exact(id, process, source)
    errors = []

    for steps in (16, 32, 64):
        mean, deviation = mean_and_deviation(id, process, source, steps)
        errors.append((deviation / wanted - 1).abs().max().item())
        # DPM-Solver's scheduler computes in 32 bits.
        torch.testing.assert_close(mean.view(4), wanted_mean, rtol=0, atol=2e-6)

    orders = [math.log2(coarse / fine) for coarse, fine in zip(errors, errors[1:], strict=False)]
    # Gradient estimation's is still rising at 16 steps.
    assert orders[-1] > ORDERS[id] - 0.15 and orders[0] > ORDERS[id] - 0.3
    assert errors[-1] < 0.05 / 4 ** (ORDERS[id] - 1)


def test_orders_are_told_of_every_rival():
    assert set(ORDERS) == set(RIVALS) and all(rival.id == id for id, rival in RIVALS.items())
    assert len({rival.name for rival in RIVALS.values()}) == len(RIVALS)


@pytest.mark.parametrize("steps", [4, 9])
@pytest.mark.parametrize(("id", "process", "source"), CASES)
def test_evaluations_are_counted_and_levels_left_alone(id, process, source, steps):
    available(id, process, source)
    sigmas, noise, taken = levels(steps, process).float(), normal(dtype=torch.float32), []
    given = sigmas.clone()

    def denoise(x, sigma):
        assert sigma.shape == (3,) and x.shape == (3, 1, 8, 8) and not torch.is_grad_enabled()
        taken.append(sigma)
        return curved(process)(x, sigma)

    samples = sample(id, denoise, noise() * sigmas[0], sigmas, noise, process, source)

    assert len(taken) == evaluations(id, steps)
    assert sigmas.equal(given)
    assert samples.shape == (3, 1, 8, 8) and samples.dtype == torch.float32 and samples.isfinite().all()


@pytest.mark.parametrize(("id", "process", "source"), CASES)
def test_noise_is_what_was_given_and_nothing_else(id, process, source):
    available(id, process, source)
    torch.manual_seed(1)
    first = run(id, source, process, dtype=torch.float32)
    torch.manual_seed(2)
    again = run(id, source, process, dtype=torch.float32)

    assert first.equal(again)


@pytest.mark.parametrize(("id", "process", "source"), CASES)
def test_only_stochastic_ones_add_noise(id, process, source):
    available(id, process, source)

    def silence(*_):
        return torch.zeros(3, 1, 8, 8)

    sigmas, x = levels(8, process).float(), normal(dtype=torch.float32)()
    quiet, loud = (
        sample(id, curved(process), x * sigmas[0], sigmas, noise, process, source)
        for noise in (silence, normal(dtype=torch.float32))
    )

    assert quiet.equal(loud) == (RIVALS[id].family == DETERMINISTIC)


SHARED = [
    (id, process)
    for id, rival in RIVALS.items()
    for process in PROCESSES
    if rival.k_diffusion and not (rival.stochastic and process == "flow")  # of which k-diffusion's know nothing
]


@pytest.mark.parametrize(("id", "process"), SHARED)
def test_comfyui_still_has_what_it_took_from_k_diffusion(id, process):
    available(id, process, "ComfyUI")

    torch.testing.assert_close(run(id, "ComfyUI", process), run(id, "k-diffusion", process), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("id", "process", "tolerance"),
    [
        ("dpmpp_2m", "ve", 1e-5),  # diffusers' in 32 bits
        ("dpmpp_2m_sde", "ve", 1e-5),
        ("dpmpp_2m_sde", "flow", 1e-5),
        ("ipndm", "ve", 1e-6),
        ("ipndm", "flow", 1e-6),
        ("euler_ancestral", "flow", 1e-5),
    ],
)
def test_diffusers_and_comfyui_have_one_method(id, process, tolerance, doubles):
    available(id, process, "ComfyUI")

    torch.testing.assert_close(run(id, "diffusers", process), run(id, "ComfyUI", process), rtol=0, atol=tolerance)


@pytest.mark.parametrize("id", ["dpmpp_2m", "dpmpp_2m_sde"])
def test_diffusers_and_k_diffusion_have_one_method(id):
    torch.testing.assert_close(run(id, "diffusers"), run(id, "k-diffusion"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("id", ["uni_pc", "uni_pc_bh2"])
def test_unipc_of_comfyui_is_diffusers_but_for_where_it_stops(id, doubles):
    """It steps to 0.001 along the line from its last, corrected x to D there, and not to D."""
    available(id, "ve", "ComfyUI")
    seen = []

    def denoise(x, sigma):
        seen.append((sigma[0].item(), curved()(x, sigma)))
        return seen[-1][1]

    stopped, last = run(id, "ComfyUI", denoise=denoise), seen[-1]

    finished = run(id, "diffusers")
    torch.testing.assert_close(last[1], finished, rtol=0, atol=1e-6)
    # x - D is of the size of sigma.
    assert 0 < (stopped - finished).abs().max() < 5 * UNIPC_END


def test_in_a_flow_deterministic_methods_differ_in_the_variable_of_their_polynomials(doubles):
    """ComfyUI's take -log sigma, diffusers' log(alpha/sigma): not the same samples, the same limit."""
    gaps = []
    for steps in (10, 40):
        first, second = (run("dpmpp_2m", source, "flow", steps=steps) for source in ("k-diffusion", "diffusers"))
        gaps.append((first - second).abs().max().item())

    assert gaps[0] > 1e-3 and gaps[1] < gaps[0] / 8


@pytest.mark.parametrize("id", ["deis", "sa_solver", "uni_pc", "dpmpp_2m"])
def test_a_scheduler_counts_every_evaluation_as_one_of_its_steps(id):
    """By their number it knows how near the end is, where it lowers its order: as in diffusers' own pipelines."""
    sigmas = levels(7)
    own = schedulers._made(RIVALS[id].scheduler, sigmas, "ve")

    assert len(own.timesteps) == evaluations(id, 7) == 7
    assert own.sigmas.equal(sigmas)


@pytest.mark.parametrize("id", ["deis", "sa_solver"])
def test_where_comfyui_and_diffusers_differ_they_come_to_the_same(id, doubles):
    """DEIS fits its polynomial in another variable; SA-Solver has a term of third order more, and a corrector of
    another order next to the end."""
    available(id, "ve", "ComfyUI")
    gaps = []
    for steps in (10, 80):
        first, second = (run(id, source, denoise=denoiser_of_pixels, steps=steps) for source in SOURCES[1:])
        gaps.append((first - second).abs().max().item())

    assert 1e-3 < gaps[0] < 0.5 and gaps[1] < gaps[0] / 20


def denoiser_of_pixels(x, sigma):
    return x / (1 + 4 * sigma.view(-1, 1, 1, 1) ** 2)


def test_why_diffusers_third_order_stochastic_solver_is_left_out(doubles, monkeypatch):
    """If this fails, it has been mended, and can be taken."""
    mended = Scheduler("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3})
    monkeypatch.setitem(RIVALS, "dpmpp_3m_sde", rivals.dataclasses.replace(RIVALS["dpmpp_3m_sde"], scheduler=mended))

    theirs, ours = (
        (mean_and_deviation("dpmpp_3m_sde", "ve", source, 64)[1] / exact("", "ve", source)[1] - 1).abs().max().item()
        for source in ("diffusers", "k-diffusion")
    )

    assert theirs > 5 * ours


def test_the_older_sources_come_first():
    assert find("dpmpp_2m") == "k-diffusion" and rivals.source("dpmpp_2m").startswith("k-diffusion 0.")


def test_without_a_checkout_diffusers_are_taken(monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)

    assert find("uni_pc_bh2") == "diffusers" and rivals.source("uni_pc_bh2").startswith("diffusers 0.")


def test_what_is_missing_says_what_would_have_it(monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)

    with pytest.raises(Missing, match="ER-SDE .* set COMFYUI_PATH .* diffusers has no scheduler"):
        find("er_sde")
    with pytest.raises(Missing, match="is for flows alone"):
        find("euler_ancestral", "ve", "diffusers")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rival": "fractal"}, "expected one of euler, .*got 'fractal'"),
        ({"process": "vp"}, "expected one of ve, flow, got 'vp'"),
        ({"source": "forge"}, "expected one of k-diffusion, .*got 'forge'"),
        ({"sigmas": torch.tensor([3.0, 1.0, 0.5])}, "then 0"),
        ({"sigmas": torch.tensor([1.0, 3.0, 0.0])}, "that fall"),
        ({"sigmas": torch.tensor([1.0, 0.0])}, "two levels or more"),
    ],
)
def test_what_makes_no_sense_is_refused(given, told):
    whole = {"rival": "euler", "denoise": curved(), "x": torch.zeros(1, 1, 2, 2), "sigmas": levels(4)}

    with pytest.raises(ValueError, match=told):
        sample(**whole | {"noise": normal()} | given)


def test_what_the_model_raises_comes_out():
    def fails(x, sigma):
        raise KeyError("no such weights")

    for id in ("heun", "uni_pc_bh2"):
        with pytest.raises(KeyError, match="no such weights"):
            run(id, None, denoise=fails)


def test_a_folder_that_is_no_checkout_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))

    with pytest.raises(FileNotFoundError, match="expected a checkout of ComfyUI.*leave it unset"):
        find("er_sde")


@pytest.fixture
def loaded():
    if rivals.checkout() is None:
        pytest.skip(HOW)
    return host.load(rivals.checkout())


def test_a_checkout_has_all_but_what_is_newer(loaded):
    lacking = {id for id, rival in RIVALS.items() if not loaded.has(rival.host)}

    assert lacking <= {"exp_heun_2_x0_sde"}
    assert loaded.version in rivals.label("ComfyUI")
    if lacking:
        with pytest.raises(Missing, match=f"{loaded.version} has no sample_exp_heun_2_x0_sde; take a newer"):
            find("exp_heun_2_x0_sde")


def test_schedules_are_comfyuis(loaded):
    sigmas = levels(10)

    ve, flow = loaded.schedule(sigmas, "ve"), loaded.schedule(levels(10, "flow"), "flow")

    assert ve.sigma_max.item() == pytest.approx(10) and ve.sigma_min.item() == pytest.approx(0.1)
    # A fifth of the way from 10 to 0.1, in the logarithm.
    assert ve.percent_to_sigma(0.2) == pytest.approx(10 * 100**-0.2)
    assert flow.percent_to_sigma(0.2) == pytest.approx(0.8)
    x, z = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0)
    assert ve.noise_scaling(torch.tensor([0.5]), z.clone(), x).unique().item() == pytest.approx(1 + 0.5 * 3)
    assert flow.noise_scaling(torch.tensor([0.5]), z.clone(), x).unique().item() == pytest.approx(0.5 + 0.5 * 3)


def test_a_checkout_leaves_no_trace(loaded):
    code = (
        "import sys; from evidence import rivals; rivals.source('er_sde');"
        "print([name for name in sys.modules if name.split('.')[0] in ('comfy', 'comfy_aimdo', 'psutil')])"
    )

    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(rivals.__file__).parents[2],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.strip() == "[]"
    assert importlib.util.find_spec("comfy") is None


@pytest.mark.parametrize("id", ["dpmpp_2m_sde", "dpmpp_3m_sde", "er_sde", "sa_solver", "seeds_2", "uni_pc_bh2"])
def test_a_flow_may_start_at_pure_noise(id):
    for source in SOURCES[1:]:
        if (source == "ComfyUI" and rivals.checkout() is None) or (source == "diffusers" and not RIVALS[id].scheduler):
            continue
        sigmas = torch.cat([torch.linspace(1, 0.02, 60), torch.zeros(1)])
        noise = normal(shape=(200, 1, 8, 8), dtype=torch.float32)

        def denoise(x, sigma):
            """D for data N(0, 1/4)."""
            a, sigma = (1 - sigma).view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)
            return a * x / (a**2 + 4 * sigma**2)

        samples = sample(id, denoise, noise(), sigmas, noise, "flow", source)

        assert samples.std().item() == pytest.approx(0.5, rel=0.03)
