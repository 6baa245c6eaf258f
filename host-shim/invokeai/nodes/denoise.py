"""LGS Denoise - SD1.5, SDXL: InvokeAI's own denoising node, with LGS in the place of its scheduler."""

import os
from typing import Literal

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from invokeai.app.invocations.baseinvocation import invocation
from invokeai.app.invocations.denoise_latents import DenoiseLatentsInvocation
from invokeai.app.invocations.fields import InputField
from invokeai.app.invocations.primitives import LatentsOutput
from invokeai.app.services.shared.invocation_context import InvocationContext
from invokeai.backend.stable_diffusion.diffusers_pipeline import StableDiffusionGeneratorPipeline
from pydantic import PrivateAttr

from .. import lgs
from ..host.pipeline import sample_with
from ..lgs._ffi.engine import engine
from .inputs import lgs_options, with_lgs_inputs

# InvokeAI evaluates its models on one picture at a time; and it has no nodes that give a network for the diagonal.
INPUTS_WITHOUT = {"doubled_batch", "diagonal-learned"}


# No postponed annotations here: InvokeAI reads what `invoke` returns.
@invocation(
    "lgs_denoise_latents",
    title="LGS Denoise - SD1.5, SDXL",
    tags=["lgs", "secant", "lanczos", "covariance", "few steps", "latents", "denoise", "txt2img", "img2img"],
    category="latents",
    version="0.1.0",
)
class LGSDenoise(with_lgs_inputs(DenoiseLatentsInvocation, without=INPUTS_WITHOUT)):
    """Denoises with the posterior covariance, what the model leaves undecided at each step, for better pictures at few
    steps. One model evaluation a step in the mode secant."""

    scheduler: Literal["euler", "euler_k"] = InputField(
        default="euler",
        title="Noise Levels",
        description="Where the steps lie: at the model's own noise levels, or at Karras's, closer together at the end.",
        ui_choice_labels={"euler": "the model's own", "euler_k": "Karras"},
    )

    _options: lgs.Options | None = PrivateAttr(None)
    _context: InvocationContext | None = PrivateAttr(None)

    def invoke(self, context: InvocationContext) -> LatentsOutput:
        # What is wrong is reported before models are loaded.
        engine()
        self._options, self._context = lgs.Options(**lgs_options(self)), context
        refuse_what_does_not_work(self, self._options)
        try:
            return super().invoke(context)
        finally:
            self._options = self._context = None

    def create_pipeline(
        self, unet: UNet2DConditionModel, scheduler: SchedulerMixin
    ) -> StableDiffusionGeneratorPipeline:
        """InvokeAI's, whose loop over the steps is LGS's."""
        pipeline = super().create_pipeline(unet, scheduler)
        sample_with(self._options, pipeline, self._context.util.is_canceled)
        return pipeline


def refuse_what_does_not_work(node: LGSDenoise, options: lgs.Options) -> None:
    """Raises `lgs.Error` for settings with which LGS would be silently wrong, or not used at all."""
    if os.environ.get("USE_MODULAR_DENOISE"):
        raise lgs.Error(
            "LGS Denoise: expected InvokeAI's standard denoising, got its modular one, which the environment variable "
            "USE_MODULAR_DENOISE asks for. Start InvokeAI without that variable."
        )
    if node.hidiffusion:
        one_a_step = (
            "LGS Denoise: expected one model evaluation a step with HiDiffusion, which counts them, got the mode "
        )
        if options.products:
            raise lgs.Error(
                f"{one_a_step}{node.covariance}, which has several. Turn HiDiffusion off, or choose the mode secant or "
                "isotropic."
            )
        if options.solver == "secant" and node.denoising_end < 1:
            raise lgs.Error(
                f"{one_a_step}secant with a denoising end of {node.denoising_end:g}, where it looks once more. Turn "
                "HiDiffusion off, set the denoising end to 1, or choose the mode isotropic."
            )
