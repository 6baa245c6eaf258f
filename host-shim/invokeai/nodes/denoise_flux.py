"""LGS Denoise - FLUX: InvokeAI's own denoising node, with LGS as its scheduler."""

from typing import Literal

from invokeai.app.invocations.baseinvocation import invocation
from invokeai.app.invocations.fields import InputField
from invokeai.app.invocations.flux_denoise import FluxDenoiseInvocation
from invokeai.app.invocations.primitives import LatentsOutput
from invokeai.app.services.shared.invocation_context import InvocationContext

from .. import lgs
from ..host.flux import NAME, FluxSteps, in_the_place_of_a_scheduler
from ..lgs._ffi.engine import engine
from .inputs import lgs_options, with_lgs_inputs

# InvokeAI's loop for Flux evaluates the model once a step, and there is no way to ask for more.
MODES_WITHOUT = {"lanczos", "isotropic-optimal", "diagonal", "diagonal-learned", "spectral"}
INPUTS_WITHOUT = {
    "lanczos_steps",
    "covariance_min_sigma",
    "covariance_max_sigma",
    "jvp",
    "extended",
    "tolerance",
    "doubled_batch",
    "probes",
}


# No postponed annotations here: InvokeAI reads what `invoke` returns.
@invocation(
    "lgs_flux_denoise",
    title="LGS Denoise - FLUX",
    tags=["lgs", "secant", "covariance", "few steps", "latents", "denoise", "flux"],
    category="latents",
    version="0.1.0",
)
class LGSFluxDenoise(with_lgs_inputs(FluxDenoiseInvocation, without=MODES_WITHOUT | INPUTS_WITHOUT)):
    """Denoises with the posterior covariance, what the model leaves undecided at each step, for better pictures at few
    steps. One model evaluation a step."""

    scheduler: Literal["lgs"] = InputField(default=NAME, description="LGS.", ui_hidden=True)

    def invoke(self, context: InvocationContext) -> LatentsOutput:
        # What is wrong is reported before models are loaded.
        engine()
        pure_noise = self.latents is None
        options = lgs.Options(**lgs_options(self), process="flow", pure_noise=pure_noise)
        steps = FluxSteps(options, self.height, self.width, self.seed)
        with in_the_place_of_a_scheduler(steps):
            return super().invoke(context)
