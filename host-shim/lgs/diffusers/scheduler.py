"""`LGSScheduler`: LGS as a scheduler of diffusers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from torch import Tensor

from ..errors import InternalError, InvalidArgument, ModelOutputError
from .options import options_of
from .plan import Plan
from .prediction import posterior_mean
from .running import Generators, Run
from .schedules import COMPATIBLE, Schedule, check_config, fields, is_flow, schedule_of, taken


@dataclass
class LGSSchedulerOutput(BaseOutput):
    """What `LGSScheduler.step` gives: both (batch, ...), in the dtype of the model's output."""

    prev_sample: Tensor
    """Where the model is to be asked next; at the end of the schedule the result."""
    pred_original_sample: Tensor | None = None
    """D(x, sigma): the picture that the model expects."""


def _with_fields(init: Callable[..., None]) -> Callable[..., None]:
    """Gives it the fields of the schedules as its parameters, from which diffusers makes the config."""
    own = {"use_flow_sigmas": False, "flow_shift": 1.0, "options": None}
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = {name: inspect.Parameter(name, kind, default=default) for name, default in own.items()}
    init.__signature__ = inspect.Signature([inspect.Parameter("self", kind), *{**fields(), **parameters}.values()])
    return init


class LGSScheduler(SchedulerMixin, ConfigMixin):
    """LGS for a pipeline of diffusers, in place of the scheduler that it has:

        pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config)
        pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config, options={"eta": 0.5})

    The model may predict noise (``prediction_type`` "epsilon"), "v_prediction", the picture ("sample"), or the velocity
    of a flow ("flow_prediction", which the config of a FlowMatch scheduler stands for). The fields of the config are
    those of diffusers' EulerDiscreteScheduler, for a flow of its FlowMatchEulerDiscreteScheduler, and mean what they
    mean there: noise levels, timesteps, the scale of the model's input and of the noise are those schedulers' own. With
    ``use_flow_sigmas``, as UniPC and DPM-Solver have it, ``flow_shift`` is the shift.

    ``options`` is a dict of those options of `lgs.Options` that are to differ from the LGS Sampler node's defaults:
    the solver "secant" without noise, one evaluation of the model a step. {"solver": "ancestral"} is the Lanczos
    sampler. Its products are finite differences ("jvp": "central-difference" for better ones), rough where a model
    computes in half precision, and a step with products leads as many noise levels on as it takes evaluations:
    ``num_inference_steps`` is what a run costs.

    The latents are those of `lgs.sample` at the noise levels ``sigmas``. What a pipeline makes of the sample between
    steps, as behind a mask, counts: see `lgs.Trajectory.advance`. Noise is drawn by `step`, with its ``generator``, in
    float32. At the end of a schedule that does not end in 0 the sample is what the solver predicts there.

    ``record``, if it is set, is the ``callback`` of `lgs.sample`: a `lgs.Record`, a new one for each picture.

    Raises `lgs.InvalidArgument` (a ValueError) and `lgs.InvalidType` for what cannot be sampled, by name, and otherwise
    as `lgs.sample`. After an error in `step` the same step can be taken again.
    """

    _compatibles = list(COMPATIBLE)
    order = 1

    @register_to_config
    @_with_fields
    def __init__(self, *_: Any, **__: Any):
        check_config(self.config)
        options_of(self.config["options"], is_flow=is_flow(self.config))
        self.record: Callable[[dict[str, Any]], Any] | None = None
        self.num_inference_steps: int | None = None
        self._schedule: Schedule = schedule_of(self.config)
        self._plan: Plan | None = None
        self._run: Run | None = None
        self._show(self._schedule.timesteps, self._schedule.sigmas)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any] | None = None, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> LGSScheduler | tuple[LGSScheduler, dict[str, Any]]:
        """From the config of a scheduler for the same model, with ``kwargs`` in place of some of its fields."""
        given: Any = taken(config) if isinstance(config, Mapping) else config
        return super().from_config(given, return_unused_kwargs, **kwargs)

    @property
    def betas(self) -> Tensor:
        """Of the training schedule, (num_train_timesteps,); a flow has none."""
        return self._schedule.betas

    @property
    def alphas_cumprod(self) -> Tensor:
        """Of the training schedule, (num_train_timesteps,); a flow has none."""
        return self._schedule.alphas_cumprod

    @property
    def init_noise_sigma(self) -> float | Tensor:
        """The standard deviation of what a trajectory begins with, where that is noise alone."""
        return getattr(self._schedule, "init_noise_sigma", 1.0)

    @property
    def begin_index(self) -> int | None:
        """The evaluation that a trajectory begins with, where a pipeline has set it."""
        return self._begin_index

    @property
    def step_index(self) -> int | None:
        """The evaluation that is next, once a trajectory is under way."""
        return self._step_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Has the next trajectory begin with this evaluation: a pipeline does so before its first step."""
        self._begin_index = begin_index

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Makes the schedule: ``num_inference_steps`` evaluations, or at ``timesteps`` or ``sigmas`` of one's own, as
        diffusers' scheduler takes them; ``mu`` is the shift of a flow with ``use_dynamic_shifting``. A trajectory that
        is under way ends."""
        self._close()
        given = {"timesteps": timesteps, "sigmas": sigmas, "mu": mu}
        schedule = schedule_of(self.config)
        given = {name: value for name, value in given.items() if value is not None}
        schedule.set_timesteps(num_inference_steps, device=device, **given)
        # With interpolation_type "log_linear" it has a level more, which it never comes to.
        levels: Tensor = schedule.sigmas[: len(schedule.timesteps) + 1]
        plan = Plan(levels.tolist(), options_of(self.config["options"], is_flow=is_flow(self.config)))
        self._schedule, self._plan = schedule, plan
        self.num_inference_steps = schedule.num_inference_steps
        self._show(schedule.timesteps[plan.at[:-1]], levels[plan.at])

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor) -> Tensor:
        """The sample as the model takes it."""
        if is_flow(self.config):
            return sample
        return self._at(self._index(timestep)).scale_model_input(sample, timestep)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Pictures with noise, at ``timesteps`` (batch,) of the schedule: where a trajectory that is to begin there
        begins, or, of one that is under way, at its next evaluation."""
        self._is_noised = True
        index = self._begin_index if self._step_index is None else self._step_index
        schedule = self._schedule if index is None else self._at(index)
        if is_flow(self.config):
            return schedule.scale_noise(original_samples, timesteps, noise)
        return schedule.add_noise(original_samples, noise, timesteps)

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """`add_noise`, as pipelines for flows call it."""
        return self.add_noise(sample, noise, timestep)

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> LGSSchedulerOutput | tuple[Tensor, Tensor]:
        """Takes the model's output at ``sample``, both (batch, ...), and leads to where the model is to be asked next.

        ``timestep`` is the one of ``timesteps`` that is next. ``return_dict`` False: the same two as a tuple.
        """
        if self._plan is None:
            raise InvalidArgument("step: expected a schedule of some steps. Call set_timesteps first.")
        index = self._index(timestep)
        if model_output.shape != sample.shape:
            raise InvalidArgument(
                f"model_output: expected the sample's shape {tuple(sample.shape)}, got {tuple(model_output.shape)}. "
                "What a model predicts beside the mean, as its variance, is to be taken off first."
            )
        # Where the model was asked, rounded as it was: with the sampler's own x for it a picture in half precision is
        # up to half as far again from the one in float32.
        x = sample.to(torch.promote_types(sample.dtype, torch.float32))
        denoised = posterior_mean(self.config["prediction_type"], model_output, x, self._plan.level(index))
        if not denoised.isfinite().all():
            # The sampler, which looks once a step, would say so when the next sample has it, too.
            raise ModelOutputError(
                f"model_output: expected finite numbers, got NaN or infinity at timestep {self._values[index]:g}, "
                f"number {index + 1} of {len(self._values)}. A model that overflows in float16 may run in bfloat16."
            )
        try:
            prev_sample = self._advanced(self._plan, index, denoised, sample, model_output.dtype, generator)
        except BaseException:
            self._close()
            raise
        self._step_index = index + 1
        if self._step_index == len(self._values):
            self._close()
        expected = denoised.to(model_output.dtype)
        return LGSSchedulerOutput(prev_sample, expected) if return_dict else (prev_sample, expected)

    def __len__(self) -> int:
        return self.config["num_train_timesteps"]

    def __getstate__(self) -> dict[str, Any]:
        """A copy of a scheduler under way begins anew where that is: without what the steps before have told."""
        return self.__dict__ | {"_run": None}

    def _show(self, timesteps: Tensor, sigmas: Tensor) -> None:
        """Makes these the schedule, before its first step."""
        self.timesteps, self.sigmas = timesteps, sigmas
        self._values = timesteps.tolist()
        self._begin_index: int | None = None
        self._step_index: int | None = None
        self._is_noised = False
        """Whether a pipeline has put noise on pictures, and so does not begin with noise alone."""

    def _close(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.close()

    def _at(self, index: int) -> Schedule:
        """diffusers' schedule, before it steps from this evaluation's noise level."""
        schedule = copy.copy(self._schedule)
        schedule.set_begin_index(index if self._plan is None else self._plan.at[index])
        return schedule

    def _index(self, timestep: float | Tensor) -> int:
        """Which evaluation a timestep is, where it is the next one."""
        values = set(torch.as_tensor(timestep).flatten().tolist())
        if len(values) != 1:
            raise InvalidArgument(
                f"timestep: expected one of the schedule's, got {len(values)} of them. Give one for all."
            )
        [value] = values
        index = self._begin_index if self._step_index is None else self._step_index
        if index is None:
            if value in self._values:
                return self._values.index(value)
            expected = f"one of the schedule's {len(self._values)}"
        elif index < len(self._values):
            if value == self._values[index]:
                return index
            expected = f"{self._values[index]:g}, number {index + 1} of {len(self._values)}"
        else:
            expected = f"no further one after the {len(self._values)} of the schedule"
        raise InvalidArgument(
            f"timestep: expected {expected}, got {value:g}. Take the scheduler's timesteps one by one; set_timesteps "
            "begins anew."
        )

    def _advanced(
        self, plan: Plan, index: int, denoised: Tensor, sample: Tensor, dtype: torch.dtype, generator: Generators
    ) -> Tensor:
        """Where the model is to be asked next, or the result."""
        if self._run is None:
            levels, options, unused = plan.from_evaluation(index)
            if unused:
                return sample.to(dtype)
            if "pure_noise" not in (self.config["options"] or {}):
                options = options._with(pure_noise=index == 0 and not self._is_noised)
            self._run = Run(sample, levels, options, dtype, generator, self.record)
        self._run.advance(denoised, sample, generator)
        prev_sample, level = self._run.next()
        is_at_the_end = level is None and index + 1 == len(self._values)
        if level != plan.level(index + 1) and not is_at_the_end:
            raise InternalError(
                f"step: expected the model to be needed next at noise level {plan.level(index + 1):g}, got {level}."
            )
        return prev_sample
