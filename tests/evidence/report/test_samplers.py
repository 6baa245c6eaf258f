"""`.samplers` against each other, closed forms and counts. About 5 s."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lgs
from evidence.demo import job
from evidence.report.samplers import (
    FAMILIES,
    RIVAL,
    SAMPLERS,
    SECANT,
    SHIPPED,
    evaluations,
    karras_sigmas,
    present,
    sample,
    source,
)
from evidence.rivals import RIVALS

SIGMAS = karras_sigmas(6, 20.0, 0.03)
BY_ID = {sampler.id: sampler for sampler in SAMPLERS}

EVALUATIONS = {
    "lanczos-k1": 11,
    "lanczos-k3": 21,
    "secant": 6,
    "isotropic": 6,
    "isotropic-large": 6,
    "isotropic-optimal": 11,
    "diagonal": 11,
    "diagonal-learned": 6,
    "spectral": 11,
    "euler-ancestral": 6,
    "dpmpp-2m-sde": 6,
    "ddim": 6,
    "heun": 11,
    "dpmpp-2m": 6,
}
"""Of six steps: one a step, one a product, none of those in the last step; Heun's two a step but for the last."""


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda *_: torch.randn(shape, generator=generator, dtype=torch.float64)


def gaussian(x, sigma):
    """D for data N(0, 1/4)."""
    return x / (1 + 4 * sigma.view(-1, 1, 1, 1) ** 2)


def curved(x, sigma):
    """D for pixels of N(-1/2, 1/16) or N(1/2, 1/16), each with probability 1/2."""
    variance = sigma.view(-1, 1, 1, 1) ** 2
    centre = 0.5 * torch.tanh(0.5 * x / (variance + 1 / 16))
    return (x / 16 + variance * centre) / (variance + 1 / 16)


def run(id, sigmas=SIGMAS, denoise=gaussian, seed=0, n=3):
    sampler = BY_ID[id]
    return sample(sampler.solver, sampler.options, denoise, sigmas, noise(n, 1, 8, 8, seed=seed))


def test_ids_are_different_and_families_known():
    assert len(BY_ID) == len(SAMPLERS) == len({sampler.name for sampler in SAMPLERS})
    assert {sampler.family for sampler in SAMPLERS} == set(FAMILIES)


def test_every_rival_has_one_row():
    taken = [s.options["rival"] if s.solver == RIVAL else s.solver for s in SAMPLERS if s.solver != "lgs"]

    assert len(taken) == len(RIVALS)
    assert {id for id, rival in RIVALS.items() if {id, rival.k_diffusion} & set(taken)} == set(RIVALS)


def test_a_row_says_where_its_sampler_comes_from(monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)

    assert source(BY_ID["lgs"]).startswith("lgs 0.")
    assert source(BY_ID["dpmpp-2m"]).startswith("k-diffusion 0.")
    assert source(BY_ID["uni-pc-bh2"]).startswith("diffusers 0.")
    found, missing = present(BY_ID[id] for id in ("lgs", "deis", "er-sde"))
    assert [sampler.id for sampler in found] == ["lgs", "deis"]
    [gone] = missing
    assert gone["what"] == "ER-SDE" and "set COMFYUI_PATH" in gone["why"]


def test_a_rival_starts_from_the_same_noise_and_is_counted(monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    seen = []

    _, count = run("uni-pc-bh2", denoise=lambda x, sigma: seen.append(x) or gaussian(x, sigma))

    torch.testing.assert_close(seen[0], noise(3, 1, 8, 8)() * SIGMAS[0], rtol=1e-6, atol=0)
    assert count == evaluations(RIVAL, {"rival": "uni_pc_bh2"}, SIGMAS) == 6


@pytest.mark.parametrize("id", EVALUATIONS)
def test_samplers_cost_what_they_stand_for(id):
    assert evaluations(BY_ID[id].solver, BY_ID[id].options, SIGMAS) == EVALUATIONS[id]


def test_products_in_a_range_alone_cost_less():
    # Of the six levels, 20, 8.1, 2.8, 0.8, 0.18 and 0.03, three are from 0.5 to 10.
    sampler = BY_ID["lgs"]

    assert evaluations(sampler.solver, sampler.options, SIGMAS) == 6 + 3


def test_what_is_said_to_be_shipped_is_shipped():
    """The node's defaults are the secant; with another mode its other inputs count."""
    inputs = lgs.Options.recommended().as_dict()
    shown = lgs.Options(**SECANT.options).as_dict()
    lanczos = lgs.Options(**SHIPPED.options).as_dict()

    assert {name: inputs[name] for name in ("solver", "eta", "s_noise")} == {
        name: shown[name] for name in ("solver", "eta", "s_noise")
    }
    assert inputs | {"solver": "ancestral", "eta": 0.5, "jvp": "finite-difference"} == lanczos


def test_euler_ancestral_and_the_isotropic_covariance_are_one_sampler():
    torch.testing.assert_close(run("euler-ancestral")[0], run("isotropic")[0], rtol=1e-5, atol=1e-6)


def test_ddim_and_eta_0_are_one_sampler():
    own = sample("lgs", {"covariance": "isotropic", "eta": 0.0}, gaussian, SIGMAS, noise(3, 1, 8, 8))

    torch.testing.assert_close(run("ddim")[0], own[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("eta", "id"), [(0.0, "dpmpp-2m"), (1.0, "dpmpp-2m-sde")])
def test_multistep_steps_throughout_are_dpm_solver_plus_plus(eta, id):
    """k-diffusion's is an independent implementation."""
    options = {"covariance_min_sigma": 1000.0, "other_steps": "multistep", "eta": eta}

    own, cost = sample("lgs", options, curved, SIGMAS, noise(3, 1, 8, 8))

    reference, _ = run(id, denoise=curved)
    torch.testing.assert_close(own, reference, rtol=1e-5, atol=1e-6)
    assert cost == 6
    assert (
        own - sample("lgs", {"covariance": "isotropic", "eta": eta}, curved, SIGMAS, noise(3, 1, 8, 8))[0]
    ).std() > 0.01


@pytest.mark.parametrize("id", ["lanczos-k1", "dpmpp-2m-sde", "ddim", "heun", "dpmpp-2m"])
def test_many_steps_end_in_the_distribution_of_the_data(id):
    samples, _ = run(id, karras_sigmas(100, 20.0, 0.03), n=200)

    # 12,800 independent pixels: a standard deviation is known to 0.6 percent.
    assert samples.std().item() == pytest.approx(0.5, rel=0.04)


@pytest.mark.parametrize("steps", [5, 100])
def test_an_ancestral_step_loses_the_variance_that_it_should(steps):
    sigmas = karras_sigmas(steps, 20.0, 0.03).double()
    variance = sigmas[0] ** 2
    for sigma, lower in itertools.pairwise(sigmas):
        kept = (lower / sigma) ** 2
        gain = kept + (1 - kept) / (1 + 4 * sigma**2)
        variance = gain**2 * variance + kept * (sigma**2 - lower**2)

    samples, _ = run("euler-ancestral", sigmas, n=200)

    assert samples.var().item() == pytest.approx(variance.item(), rel=0.04)
    assert variance < 0.24


def test_the_full_covariance_has_it_in_few_steps():
    few = karras_sigmas(5, 20.0, 0.03)

    full, isotropic = (run(id, few, n=200)[0].std().item() for id in ("lanczos-k1", "isotropic"))

    assert full == pytest.approx(0.5, rel=0.02)
    assert isotropic < 0.45


@pytest.mark.parametrize("id", ["lanczos-k3", "euler-ancestral", "dpmpp-2m-sde", "heun"])
def test_the_same_noise_gives_the_same_samples_whatever_the_global_generator(id):
    torch.manual_seed(1)
    first, _ = run(id)
    torch.manual_seed(2)
    again, _ = run(id)

    assert first.equal(again) and not first.equal(run(id, seed=1)[0])


def test_every_sampler_starts_from_the_same_noise():
    first = []
    for id in ("lanczos-k1", "heun", "dpmpp-2m-sde"):
        seen = []
        run(id, denoise=lambda x, sigma, seen=seen: seen.append(x) or gaussian(x, sigma))
        first.append(seen[0])

    assert first[0].equal(first[1]) and first[0].equal(first[2])
    assert first[0].equal(noise(3, 1, 8, 8)() * SIGMAS[0])


def test_noise_levels_are_the_demos():
    for steps in (3, 10, 100):
        torch.testing.assert_close(
            karras_sigmas(steps, job.SIGMA_MAX, job.SIGMA_MIN), job.karras_sigmas(steps), rtol=1e-5, atol=0
        )


def test_what_the_model_raises_comes_out():
    def fails(x, sigma):
        raise KeyError("no such weights")

    for id in ("lanczos-k1", "heun"):
        with pytest.raises(KeyError, match="no such weights"):
            run(id, denoise=fails)


def test_an_unknown_covariance_is_refused():
    with pytest.raises(lgs.InvalidArgument, match="covariance"):
        sample("lgs", {"covariance": "fractal"}, gaussian, SIGMAS, noise(1, 1, 8, 8))


def test_k_diffusion_comes_without_what_it_trains_with():
    code = (
        "import sys; from evidence.report.samplers import k_diffusion; k_diffusion();"
        "print(sorted({'wandb', 'accelerate', 'clip', 'cleanfid', 'k_diffusion.evaluation'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(job.__file__).parents[2], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"
