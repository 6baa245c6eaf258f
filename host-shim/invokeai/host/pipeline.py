"""`lgs.sample` in the place of the loop over the steps of InvokeAI's Stable Diffusion pipeline."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import torch
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler, EulerDiscreteSchedulerOutput
from invokeai.app.services.session_processor.session_processor_common import CanceledException
from invokeai.backend.stable_diffusion.diffusers_pipeline import AddsMaskGuidance, StableDiffusionGeneratorPipeline
from invokeai.backend.stable_diffusion.extensions.preview import PipelineIntermediateState
from torch import Tensor
from tqdm.auto import tqdm

from .. import lgs
from ..lgs.errors import without_derivative
from ..lgs.steps_done import StepsDone

Callback = Callable[[PipelineIntermediateState], None]
"""InvokeAI's, of a step: it shows progress and preview, and raises where the user has canceled."""


def sample_with(
    options: lgs.Options, pipeline: StableDiffusionGeneratorPipeline, is_canceled: Callable[[], bool]
) -> None:
    """Has the pipeline sample with LGS.

    It prepares the latents and the model's attention, asks for its first step and finishes what comes of it, as ever;
    that step is the whole run.
    """
    loop = pipeline.latents_from_embeddings

    def latents_from_embeddings(*, latents: Tensor, timesteps: Tensor, callback: Callback, **inputs) -> Tensor:
        if len(timesteps):
            expect_one(latents)
            pure_noise = inputs["noise"] is not None and inputs["mask"] is None and not torch.count_nonzero(latents)
            run = WholeRun(options._with(pure_noise=pure_noise), pipeline, timesteps, callback, is_canceled)
            pipeline.step = run.sample
            pipeline.set_progress_bar_config(disable=True)  # of one step
        return loop(latents=latents, timesteps=timesteps[:1], callback=callback, **inputs)

    pipeline.latents_from_embeddings = latents_from_embeddings


def expect_one(latents: Tensor) -> None:
    """Raises `lgs.Error` for a batch, which InvokeAI's pipeline has no prompts for."""
    if len(latents) != 1:
        raise lgs.Error(
            f"LGS Denoise: expected latents and noise of one picture, got {len(latents)}. Make a batch in InvokeAI's "
            "way: its queue runs the workflow once for each picture."
        )


class WholeRun:
    """A run from the first of ``timesteps`` to behind the last.

    D(x, sigma) is read off the pipeline's own step, which sees to guidance, ControlNet, adapters and inpainting models.
    Its scheduler, Euler's, knows the noise levels and what the model predicts.
    """

    def __init__(
        self,
        options: lgs.Options,
        pipeline: StableDiffusionGeneratorPipeline,
        timesteps: Tensor,
        callback: Callback,
        is_canceled: Callable[[], bool],
    ):
        self._pipeline, self._timesteps = pipeline, timesteps
        self._callback, self._is_canceled = callback, is_canceled
        self._options, self._done = options, StepsDone(options)
        self._scheduler: EulerDiscreteScheduler = pipeline.scheduler
        self._first = self._scheduler.index_for_timestep(timesteps[0])
        self._sigmas = self._scheduler.sigmas[self._first : self._first + len(timesteps) + 1]

    def sample(
        self,
        *,
        t: Tensor,
        latents: Tensor,
        step_index: int,
        total_step_count: int,
        scheduler_step_kwargs: dict[str, Any],
        mask_guidance: AddsMaskGuidance | None,
        **inputs,
    ) -> EulerDiscreteSchedulerOutput:
        """What the pipeline takes for its one step, and calls with that step's arguments.

        ``latents`` (1, ...) are at the first noise level, the result at the last. LGS computes in float32 whatever the
        model does.
        """
        x, dtype = latents.float(), latents.dtype
        options = self._options._with(precision=str(dtype).removeprefix("torch."))
        generator = scheduler_step_kwargs["generator"]

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            # InvokeAI looks for it once a step; a step here may be several evaluations.
            if self._is_canceled():
                raise CanceledException
            index = self._index(sigma)
            denoised = self._denoised(x, index, dtype, mask_guidance, inputs)
            if (done := self._done.evaluated(len(x))) is not None:
                self._report(done, x, denoised)
            return denoised

        with tqdm(total=len(self._timesteps), desc="Denoising") as console:

            def report(step: dict[str, Any]) -> None:
                self._done.stepped(step)
                self._report(self._done.steps, step["x"], step["denoised"])
                console.update()

            def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
                return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)

            try:
                samples = lgs.sample(
                    denoise, x, self._sigmas, options, noise=noise, callback=report, model=self._pipeline.unet
                ).to(dtype)
            except NotImplementedError as error:
                if options.jvp != "forward":
                    raise
                raise without_derivative("LGS Denoise", error) from error
        return EulerDiscreteSchedulerOutput(prev_sample=samples, pred_original_sample=samples)

    def _index(self, sigma: Tensor) -> int:
        """Where in the list this noise level is. The last is looked at, too, if it is above 0."""
        return int((self._sigmas.cpu() - sigma[0].cpu()).abs().argmin())

    def _denoised(
        self, x: Tensor, index: int, dtype: torch.dtype, mask_guidance: AddsMaskGuidance | None, inputs: dict[str, Any]
    ) -> Tensor:
        """D(x, sigma) at a noise level of the list. Where a mask keeps the picture, x is the noised picture and D the
        picture."""
        t = self._scheduler.timesteps[self._first + index]
        x = x.to(dtype)
        if mask_guidance is not None:
            x = mask_guidance(x, t)
        # A step of its own for each evaluation: the scheduler counts them.
        self._pipeline.scheduler = copy.copy(self._scheduler)
        self._pipeline.scheduler.set_begin_index(self._first + index)
        # As it was written: in inference mode, which the pipeline turns on for it, dual numbers lose their tangents.
        step = inspect.unwrap(type(self._pipeline).step)
        denoised = step(
            self._pipeline,
            t=t.expand(1),
            latents=x,
            step_index=min(index, len(self._timesteps) - 1),
            total_step_count=len(self._timesteps),
            scheduler_step_kwargs={},
            mask_guidance=None,
            **inputs,
        ).pred_original_sample
        if mask_guidance is not None:
            without_noise = dataclasses.replace(mask_guidance, noise=torch.zeros_like(mask_guidance.noise))
            denoised = without_noise(denoised, t)
        return denoised

    def _report(self, done: float, x: Tensor, denoised: Tensor) -> None:
        """Shows progress and preview in the page. ``done`` may be a fraction: InvokeAI divides it by the steps."""
        self._callback(
            PipelineIntermediateState(
                step=done,
                order=1,
                total_steps=len(self._timesteps),
                timestep=int(self._timesteps[min(int(done), len(self._timesteps) - 1)]),
                latents=x,
                predicted_original=denoised,
            )
        )
