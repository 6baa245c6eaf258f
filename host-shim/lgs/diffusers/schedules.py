"""The noise levels: diffusers' own schedulers, of which one that goes in Euler's steps is held for all that is a
schedule, and whose configurations are taken."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from ..errors import InvalidArgument

log = logging.getLogger("lgs")

Schedule = Any
"""One of these two. Their annotations are narrower than what they take and give."""

VARIANCE_EXPLODING = ("epsilon", "v_prediction", "sample")
FLOW = "flow_prediction"

COMPATIBLE = (
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "DPMSolverSDEScheduler",
)
"""Schedulers of diffusers for the same models."""

OF_FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
"""Those whose configurations do not name what the model predicts."""

TAKEN = {*COMPATIBLE, *OF_FLOWS, "DDIMParallelScheduler", "DDPMParallelScheduler", "SASolverScheduler", "LGSScheduler"}
"""Whose configurations are taken. Others of diffusers are for models that give no posterior mean at a noise level, or
change what the model is given and gives in ways of their own."""

NOT_HONOURED = ("thresholding", "clip_sample", "use_lu_lambdas", "stochastic_sampling")
"""Fields that change what a scheduler draws, and which this one goes without."""


def fields() -> dict[str, inspect.Parameter]:
    """The fields of the two schedules by name, with the defaults that this release of diffusers gives them."""
    of_flow, of_others = (
        inspect.signature(schedule.__init__).parameters
        for schedule in (FlowMatchEulerDiscreteScheduler, EulerDiscreteScheduler)
    )
    return {
        name: parameter.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for name, parameter in {**of_others, **of_flow}.items()
        if name != "self"
    }


def is_flow(config: Mapping[str, Any]) -> bool:
    return config["prediction_type"] == FLOW


def check_config(config: Mapping[str, Any]) -> None:
    """That the fields of a configuration are of models that can be sampled. Raises `lgs.InvalidArgument`."""
    predicted = config["prediction_type"]
    if predicted not in (*VARIANCE_EXPLODING, FLOW):
        raise InvalidArgument(
            f"prediction_type: expected one of {', '.join((*VARIANCE_EXPLODING, FLOW))}, got {predicted!r}"
        )
    if config["use_flow_sigmas"] and not is_flow(config):
        raise InvalidArgument(
            f'prediction_type: expected "{FLOW}" with use_flow_sigmas, got "{predicted}". Set one of the two.'
        )
    if config["invert_sigmas"]:
        raise InvalidArgument(
            "invert_sigmas: expected False, as noise levels have to fall here. Keep the pipeline's scheduler."
        )


def schedule_of(config: Mapping[str, Any]) -> Schedule:
    """A new scheduler of diffusers' with these fields, for its schedule alone."""
    kind = FlowMatchEulerDiscreteScheduler if is_flow(config) else EulerDiscreteScheduler
    known = inspect.signature(kind.__init__).parameters
    given = {name: value for name, value in config.items() if name in known}
    if config["use_flow_sigmas"]:
        given["shift"] = config["flow_shift"]
    return kind(**given)


def taken(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of any scheduler of diffusers', as one of ours. Raises `lgs.InvalidArgument` for one whose models
    cannot be sampled; warns of what is not honoured."""
    # Of a scheduler that was made in Python, and not loaded, the config does not say which it is.
    config, name = dict(config), config.get("_class_name")
    name = name[-1] if isinstance(name, (list, tuple)) else name
    if name in OF_FLOWS or (name is None and "shift" in config and "prediction_type" not in config):
        config["prediction_type"] = FLOW
    if name not in TAKEN and _is_of_diffusers(name):
        raise InvalidArgument(
            "config: expected that of a scheduler for models that predict noise, velocity or picture at any noise "
            f"level, got that of {name}. Keep the pipeline's scheduler."
        )
    for field, why, harmless in (
        ("sigma_data", "scale the model's input and output", (None,)),
        ("snr_shift_scale", "shift its noise levels", (None, 1.0)),
    ):
        if config.get(field) not in harmless:
            raise InvalidArgument(
                f"config: expected one without {field}, by which a scheduler is to {why}, got {config[field]}. Keep "
                "the pipeline's scheduler."
            )
    for field in NOT_HONOURED:
        if config.get(field) is True and field not in config.get("_use_default_values", ()):
            log.warning("LGSScheduler: the config's %s is not honoured: nothing of the kind is done.", field)
    return config


def _is_of_diffusers(name: Any) -> bool:
    return isinstance(name, str) and hasattr(diffusers, name)
