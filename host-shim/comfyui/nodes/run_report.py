"""LGS Report: what a run of LGS Sampler was like, as a picture and in words."""

from __future__ import annotations

import numpy
import torch
from comfy.samplers import KSAMPLER
from comfy_api.latest import io, ui
from torch import Tensor

from ..lgs import plot, summary
from .run_history import KEPT, run_of
from .schema import node_schema

ANOTHER = (
    f"The connected latent is not what this LGS Sampler made in its last {KEPT} runs, or was changed since. This is "
    "the sampler's last run:\n"
)
ANOTHER_SHOWN = "Not of the connected latent: this is the sampler's last run, seed {seed}"


class LGSReport(io.ComfyNode):
    """The node. It takes the latent so that ComfyUI runs it after the sampling, and to know which run is meant."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema("LGSReport", beside="KSamplerSelect")

    @classmethod
    def execute(cls, sampler: KSAMPLER, latent: dict[str, Tensor]) -> io.NodeOutput:
        runs = getattr(sampler, "extra_options", {}).get("runs")
        if runs is None:
            raise ValueError(
                "sampler: expected the SAMPLER of LGS Sampler, got another, which keeps no record of its runs"
            )
        if not runs:
            raise ValueError(
                "sampler: expected an LGS Sampler that has sampled, got one that has not. Connect one and the same "
                "LGS Sampler to LGS Report and to the sampling node, and that node's latent to the input latent. If "
                "that is so, the latent comes from ComfyUI's cache: change the seed and run again."
            )
        run = run_of(runs, latent["samples"])
        record = (run or runs[-1]).record
        text = ("" if run else ANOTHER) + summary.table(record)
        heading = "" if run else ANOTHER_SHOWN.format(seed=record.about.get("seed"))
        image = torch.from_numpy(numpy.asarray(plot.picture(record, heading), dtype=numpy.float32) / 255)[None]
        return io.NodeOutput(image, text, ui=ui.PreviewImage(image, cls=cls))
