"""LGS Start: the upper noise levels of any SAMPLER, at no evaluation."""

from __future__ import annotations

from comfy.samplers import Sampler
from comfy_api.latest import io
from torch import Tensor

from .. import lgs
from ..host.started_sampler import StartedSampler
from ..lgs.starts import Start
from ..lgs.starts.schedule import respaced
from .schema import node_schema


class LGSStart(io.ComfyNode):
    """The node: a SAMPLER around another, and the noise levels for it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema("LGSStart", beside="KSamplerSelect")

    @classmethod
    def execute(cls, sampler: Sampler, sigmas: Tensor, start: Start, sigma: float = 0.0) -> io.NodeOutput:
        level = sigma if sigma > 0 else level_of(start, len(sigmas) - 1)
        if level is None:
            return io.NodeOutput(StartedSampler(sampler, start, None), sigmas)
        if "process" not in start.about:
            raise lgs.InvalidArgument(
                "start: expected one that says which process it is for, got one without `process` among what it was "
                "fitted to. Fit it with Fit LGS Start, or save it again with about={'process': 've'} or 'flow'."
            )
        sigma_next = level / (1 + level) if start.about["process"] == "flow" else level
        try:
            levels = respaced(sigmas, sigma_next) if len(sigmas) > 1 else sigmas
        except lgs.InvalidArgument as error:
            raise lgs.InvalidArgument(str(error).replace("sigma_next:", "sigma:", 1)) from error
        return io.NodeOutput(StartedSampler(sampler, start, sigma_next), levels)


def level_of(start: Start, steps: int) -> float | None:
    """The noise level, sigma / alpha, at which a trajectory of so many steps should begin; None: at none below the top.

    Raises `lgs.InvalidArgument` for a start that does not say it.
    """
    try:
        return start.level(steps)
    except lgs.InvalidArgument as error:
        raise lgs.InvalidArgument(
            "sigma: 0 takes the level that the start says, and this one says none, since it was not compared with the "
            "model when it was fitted. Give the noise level to begin at, such as a third of the largest (5 for Stable "
            "Diffusion), or 2 for a flow model; or fit it again with Fit LGS Start."
        ) from error
