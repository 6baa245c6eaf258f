"""diffusers' own tests of what all of its schedulers have in common, on ours.

DIFFUSERS_PATH=PATH/TO/diffusers pytest tests/pipelines/test_common_suite.py
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

import pytest

from lgs.diffusers import LGSScheduler

CHECKOUT = os.environ.get("DIFFUSERS_PATH")
WHY_NOT = (
    "set DIFFUSERS_PATH to a checkout of github.com/huggingface/diffusers (git clone --depth 1), of the release that "
    "is installed or one near it"
)


def suite_of(checkout: str) -> ModuleType:
    """Its module of tests, of a package ``tests`` there; what pytest knows by that name of ours is put back."""
    ours = [name for name in sys.modules if name.partition(".")[0] == "tests"]
    kept = {name: sys.modules.pop(name) for name in ours}
    sys.path.insert(0, checkout)
    try:
        return importlib.import_module("tests.schedulers.test_schedulers")
    finally:
        sys.path.remove(checkout)
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        sys.modules.update(kept)


if CHECKOUT is None:

    def test_suite_of_diffusers():
        pytest.skip(WHY_NOT)

else:
    suite = suite_of(CHECKOUT)

    class OfAll(suite.SchedulerCommonTest):
        """None of the ten is left out."""

        scheduler_classes = (LGSScheduler,)
        forward_default_kwargs = (("num_inference_steps", 10),)

        def get_scheduler_config(self, **changes: Any) -> dict[str, Any]:
            own = {"num_train_timesteps": 1100, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
            return own | changes

        # The suite's two checks for schedulers to call, with what they have.

        def test_configs(self):
            for field, values in {
                "num_train_timesteps": [10, 50, 100, 1000],
                "beta_schedule": ["linear", "scaled_linear"],
                "prediction_type": ["epsilon", "v_prediction", "sample"],
                "use_karras_sigmas": [True],
                "timestep_spacing": ["linspace", "leading", "trailing"],
                "options": [{"eta": 0.5}, {"solver": "ancestral", "eta": 0.5}],
            }.items():
                for value in values:
                    config = self.get_scheduler_config(**{field: value})
                    scheduler = LGSScheduler(**config)
                    scheduler.set_timesteps(10)
                    self.check_over_configs(time_step=scheduler.timesteps[0], **{field: value})

        def test_steps(self):
            for steps in (1, 2, 10, 50):
                scheduler = LGSScheduler(**self.get_scheduler_config())
                scheduler.set_timesteps(steps)
                self.check_over_forward(time_step=scheduler.timesteps[0], num_inference_steps=steps)

    class OfFlows(OfAll):
        def get_scheduler_config(self, **changes: Any) -> dict[str, Any]:
            return {"prediction_type": "flow_prediction", "num_train_timesteps": 1000, "shift": 3.0} | changes

        test_configs = test_trained_betas = None  # of betas, which a flow does not have
