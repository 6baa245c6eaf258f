"""Configurations of `LGSScheduler`: whose are taken, what becomes of their fields, and what is refused."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

import lgs
from lgs.diffusers import LGSScheduler
from lgs.diffusers.schedules import COMPATIBLE, fields

from .tiny import STABLE_DIFFUSION

OF_SCHEDULES = {
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "trailing": {"timestep_spacing": "trailing"},
    "leading": {"timestep_spacing": "leading", "steps_offset": 1},
    "zero terminal SNR": {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    "log-linear": {"interpolation_type": "log_linear"},
    "betas": {"trained_betas": np.linspace(1e-4, 0.02, 500), "num_train_timesteps": 500},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "velocity": {"prediction_type": "v_prediction"},
    "EDM": {
        "prediction_type": "v_prediction",
        "timestep_type": "continuous",
        "use_karras_sigmas": True,
        "sigma_min": 0.002,
        "sigma_max": 700.0,
    },
}
OF_FLOWS = {
    "shift": {"shift": 3.0},
    "dynamic": {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15},
    "terminal": {"use_dynamic_shifting": True, "shift_terminal": 0.1},
    "linear": {"use_dynamic_shifting": True, "time_shift_type": "linear"},
    "karras": {"use_karras_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}


def same_schedule(made: LGSScheduler, own: Any, **kwargs: Any) -> None:
    made.set_timesteps(8, **kwargs)
    own.set_timesteps(8, **kwargs)
    assert torch.equal(made.timesteps, own.timesteps) and torch.equal(made.sigmas, own.sigmas[:9])
    assert made.init_noise_sigma == getattr(own, "init_noise_sigma", 1.0) and made.order == 1
    assert len(made) == own.config.num_train_timesteps


@pytest.mark.parametrize("name", OF_SCHEDULES)
def test_the_schedule_is_eulers(name: str, tmp_path):
    own = EulerDiscreteScheduler(**{**STABLE_DIFFUSION, **OF_SCHEDULES[name]})
    made = LGSScheduler.from_config(own.config)
    same_schedule(made, own)
    x, noise = torch.ones(2, 3), torch.randn(2, 3)
    assert torch.equal(made.scale_model_input(x, made.timesteps[0]), own.scale_model_input(x, own.timesteps[0]))
    at = made.timesteps[[2, 5]]
    own.set_timesteps(8)
    assert torch.equal(made.add_noise(x, noise, at), own.add_noise(x, noise, at))
    assert torch.equal(made.betas, own.betas) and torch.equal(made.alphas_cumprod, own.alphas_cumprod)

    made.save_pretrained(tmp_path)
    same_schedule(LGSScheduler.from_pretrained(tmp_path), own)
    same_schedule(made, EulerDiscreteScheduler.from_config(made.config))  # and back again


@pytest.mark.parametrize("name", OF_FLOWS)
def test_the_schedule_is_that_of_a_flows_euler(name: str, tmp_path):
    own = FlowMatchEulerDiscreteScheduler(**OF_FLOWS[name])
    made = LGSScheduler.from_config(own.config)
    assert made.config.prediction_type == "flow_prediction"
    kwargs = {"mu": 0.8} if OF_FLOWS[name].get("use_dynamic_shifting") else {}
    same_schedule(made, own, **kwargs)
    x, noise, at = torch.ones(2, 3), torch.randn(2, 3), made.timesteps[[2, 5]]
    expected = own.scale_noise(x, at, noise)
    assert torch.equal(made.scale_noise(x, at, noise), expected) and torch.equal(made.add_noise(x, noise, at), expected)
    assert torch.equal(made.scale_model_input(x, made.timesteps[0]), x)
    with pytest.raises(AttributeError):
        made.betas  # noqa: B018

    made.save_pretrained(tmp_path)
    same_schedule(LGSScheduler.from_pretrained(tmp_path), own, **kwargs)
    same_schedule(made, FlowMatchEulerDiscreteScheduler.from_config(made.config), **kwargs)
    own.save_pretrained(tmp_path)
    same_schedule(LGSScheduler.from_pretrained(tmp_path), own, **kwargs)  # of a pipeline's folder


@pytest.mark.parametrize("kind", [UniPCMultistepScheduler, DPMSolverMultistepScheduler])
def test_flows_as_wan_and_sana_have_them(kind: type):
    own = kind(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    made = LGSScheduler.from_config(own.config)
    same_schedule(made, FlowMatchEulerDiscreteScheduler(shift=5.0))
    back = kind.from_config(made.config)
    assert back.config.flow_shift == 5.0 and back.config.use_flow_sigmas


@pytest.mark.parametrize("name", COMPATIBLE)
def test_the_config_of_every_compatible_scheduler_is_taken_and_given_back(name: str, caplog):
    kind = getattr(diffusers, name)
    own = kind(num_train_timesteps=800, beta_start=0.001, beta_end=0.015)
    made = LGSScheduler.from_config(own.config)
    assert made.config.num_train_timesteps == 800 and made.config.beta_start == 0.001
    back = kind.from_config(made.config)
    assert back.config.beta_end == 0.015 and torch.equal(back.betas, own.betas)
    assert {key: own.config[key] for key in own.config if not key.startswith("_")}.items() <= back.config.items()
    assert kind in made.compatibles and not [r for r in caplog.records if r.name == "lgs"]


def test_what_other_schedulers_alone_have_comes_back():
    own = PNDMScheduler(**STABLE_DIFFUSION, skip_prk_steps=True)
    made = LGSScheduler.from_config(own.config, options={"eta": 0.5})
    assert PNDMScheduler.from_config(made.config).config.skip_prk_steps is True
    assert made.config.options == {"eta": 0.5}
    again = LGSScheduler.from_config(made.config)
    assert again.config.options == {"eta": 0.5}
    assert LGSScheduler.from_config(made.config, options=None).config.options is None


def test_the_fields_are_those_of_the_diffusers_that_is_here():
    ours = set(LGSScheduler().config) - {"_use_default_values"}
    assert ours == set(fields()) | {"use_flow_sigmas", "flow_shift", "options"}
    for kind in (EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler):
        own = {key: value for key, value in kind().config.items() if not key.startswith("_")}
        assert own.items() <= LGSScheduler().config.items()


def test_a_saved_config_is_plain_text(tmp_path):
    LGSScheduler(**STABLE_DIFFUSION, options={"solver": "ancestral", "eta": 0.5}).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "scheduler_config.json").read_text())
    assert saved["_class_name"] == "LGSScheduler" and saved["options"] == {"solver": "ancestral", "eta": 0.5}
    assert LGSScheduler.from_pretrained(tmp_path).config.beta_schedule == "scaled_linear"


REFUSED = {
    "of a consistency model": ("CMStochasticIterativeScheduler", {}, "got that of CMStochasticIterativeScheduler"),
    "of an inversion": ("DPMSolverMultistepInverseScheduler", {}, "got that of DPMSolverMultistepInverseScheduler"),
    "of EDM's scaling": ("EDMEulerScheduler", {}, "got that of EDMEulerScheduler"),
    "of CogVideoX": ("CogVideoXDDIMScheduler", {}, "got that of CogVideoXDDIMScheduler"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_configs_of_other_models_are_refused_by_name(name: str, tmp_path):
    kind, changes, words = REFUSED[name]
    own = getattr(diffusers, kind)(**changes)
    own.save_pretrained(tmp_path)
    for take in (
        lambda: LGSScheduler.from_pretrained(tmp_path),
        lambda: LGSScheduler.from_config(own.load_config(tmp_path)),
    ):
        with pytest.raises(lgs.InvalidArgument, match=f"config: expected that of a scheduler for models .* {words}"):
            take()


@pytest.mark.parametrize(
    ("kind", "given", "field"),
    [
        ("EDMEulerScheduler", {}, "sigma_data"),
        ("EDMEulerScheduler", {"sigma_data": 1.0}, "sigma_data"),
        ("CogVideoXDPMScheduler", {}, "snr_shift_scale"),
    ],
)
def test_without_a_name_they_are_told_by_their_fields(kind: str, given: dict[str, Any], field: str):
    """The config of a scheduler that was made in Python does not say whose it is."""
    own = getattr(diffusers, kind)(**given)
    with pytest.raises(lgs.InvalidArgument, match=f"config: expected one without {field}"):
        LGSScheduler.from_config(own.config)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"prediction_type": "x0"}, lgs.InvalidArgument, "prediction_type: expected one of epsilon, .*, got 'x0'"),
        ({"use_flow_sigmas": True}, lgs.InvalidArgument, 'expected "flow_prediction" with use_flow_sigmas'),
        ({"invert_sigmas": True}, lgs.InvalidArgument, "invert_sigmas: expected False"),
        ({"use_karras_sigmas": True, "use_beta_sigmas": True}, ValueError, "Only one of"),
        ({"options": "secant"}, lgs.InvalidType, 'options: expected a dict of options, as {"eta": 0.5}, got str'),
        ({"options": {"etta": 1}}, lgs.InvalidType, "etta"),
        ({"options": {"eta": 2.0}}, lgs.InvalidArgument, "eta"),
        ({"options": {"process": "flow"}}, lgs.InvalidArgument, 'process is what prediction_type says, here "ve"'),
        ({"options": {"solver": "ancestral", "jvp": "auto"}}, lgs.InvalidArgument, 'jvp: .*got "auto"'),
        ({"options": {"solver": "ancestral", "jvp": "forward"}}, lgs.InvalidArgument, 'jvp: .*got "forward"'),
        (
            {"options": {"solver": "ancestral", "doubled_batch": "always"}},
            lgs.InvalidArgument,
            'doubled_batch: expected "never"',
        ),
        ({"options": {"solver": "ancestral", "tolerance": 0.1}}, lgs.InvalidArgument, "expected tolerance 0"),
        (
            {"options": {"solver": "ancestral", "covariance": "diagonal-learned"}},
            lgs.InvalidArgument,
            'covariance "diagonal-learned" takes a network',
        ),
        (
            {"prediction_type": "flow_prediction", "options": {"solver": "ancestral", "covariance_max_sigma": 500.0}},
            lgs.InvalidArgument,
            "covariance_max_sigma below 199",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_when_it_is_asked_for(given: dict[str, Any], kind: type, words: str):
    with pytest.raises(kind, match=words):
        LGSScheduler(**given)


def test_options_that_do_not_matter_are_no_matter():
    """The secant takes no products, and how they would be taken is all the same."""
    LGSScheduler(options={"jvp": "auto", "doubled_batch": "always", "tolerance": 0.1})
    LGSScheduler(options={"solver": "ancestral", "covariance": "isotropic", "jvp": "forward"})


@pytest.mark.parametrize("field", ["thresholding", "clip_sample"])
def test_what_is_not_honoured_is_told(field: str, caplog):
    own = DDIMScheduler(**{field: True})
    with caplog.at_level(logging.WARNING, logger="lgs"):
        LGSScheduler.from_config(own.config)
    assert [record.message for record in caplog.records if record.name == "lgs"] == [
        f"LGSScheduler: the config's {field} is not honoured: nothing of the kind is done."
    ]


def test_what_a_pipeline_changes_in_the_config_counts():
    """Stable Diffusion's sets steps_offset to 1 where an old config lacks it."""
    made = LGSScheduler(**STABLE_DIFFUSION | {"steps_offset": 0}, timestep_spacing="leading")
    made.register_to_config(steps_offset=1)
    made.set_timesteps(10)
    assert made.timesteps[-1] == 1


def run_alone(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lgs_alone_does_not_load_diffusers():
    assert run_alone("import sys, lgs; lgs.Trajectory; print('diffusers' in sys.modules)") == "False\n"


def test_without_diffusers_a_sentence_says_so():
    code = """
import sys
sys.modules["diffusers"] = None
try:
    import lgs.diffusers
except ImportError as error:
    print(error)
"""
    assert run_alone(code) == (
        "lgs.diffusers is a scheduler for pipelines of diffusers, which is not installed here. Install it with: "
        "pip install diffusers\n"
    )
