"""The ComfyUI node pack: LGS Sampler, LGS Report, LGS Covariance, LGS Start and what goes with them.

ComfyUI imports this folder from ``custom_nodes`` and asks `comfy_entrypoint` for its nodes.
Nothing here loads the native library: that happens when LGS Sampler first runs, so that the
nodes are listed, and say what is wrong, on a machine where the library cannot be loaded.
"""

import logging
import tomllib
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

from .nodes.covariance import LGSCovariance
from .nodes.demo_model import LGSDemoModel
from .nodes.fit_start import LGSFitStart
from .nodes.load_diagonal import LGSLoadDiagonal
from .nodes.load_start import LGSLoadStart
from .nodes.run_report import LGSReport
from .nodes.sampler import LGSSampler
from .nodes.sampler_names import enter_list
from .nodes.start import LGSStart

WEB_DIRECTORY = "./web"
"""Served by ComfyUI: help pages, as docs/NODE/LANGUAGE.md."""


class LGSExtension(ComfyExtension):
    """The nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LGSSampler,
            LGSDemoModel,
            LGSLoadDiagonal,
            LGSReport,
            LGSCovariance,
            LGSFitStart,
            LGSLoadStart,
            LGSStart,
        ]


async def comfy_entrypoint() -> LGSExtension:
    """Called by ComfyUI when it loads the pack."""
    project = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    logging.info("%s %s", project["name"], project["version"])
    enter_list()  # last: with a pack that cannot be loaded the host stays as it is
    return LGSExtension()
