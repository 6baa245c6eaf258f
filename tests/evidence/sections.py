"""Every section of the evidence, by the part of the laboratory that measures it, in the order of the page."""

from __future__ import annotations

import importlib

from .report.run import Section

MODULES = {
    "report": {
        "path_kl": "report.exact",
        "lanczos_error": "report.lanczos_error",
        "exact_samples": "report.exact_samples",
        "guidance": "report.guided",
        "guidance_digits": "report.guided_digits",
        "likelihood": "report.likelihood",
        "equal": "report.equal",
        "starts": "report.starts",
        "families": "report.families",
        "trained": "report.trained",
        "defaults": "report.tuned",
    },
    "demo": {"digits": "demo.section"},
    "bench": {
        "cost": "bench.cost",
        "attention": "studies.attention",
        "products": "studies.products",
        "symmetry": "studies.symmetry",
        "adaptive": "studies.adaptive",
        "many_gpus": "studies.many_gpus.section",
    },
    "torches": {"torches": "torches.section", "windows": "torches.windows"},
}
"""Where each is; a part is what ``make`` calls it."""


def load(part: str, id: str) -> Section:
    """The section of that id, out of its module."""
    module = importlib.import_module(f".{MODULES[part][id]}", __package__)
    return next(value for value in vars(module).values() if isinstance(value, Section) and value.id == id)
