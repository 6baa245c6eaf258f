"""LGS in diffusers: a scheduler for its pipelines.

    from lgs.diffusers import LGSScheduler

    pipe.scheduler = LGSScheduler.from_config(pipe.scheduler.config)

scheduler.py   `LGSScheduler`
schedules.py   the noise levels: diffusers' own schedulers, and whose configurations are taken
plan.py        which level each evaluation of the model is at
running.py     a trajectory under way
prediction.py  the posterior mean, from what a model predicts
options.py     the sampler's options, as a field of a configuration
"""

try:
    import diffusers  # noqa: F401
except ImportError as problem:
    raise ImportError(
        "lgs.diffusers is a scheduler for pipelines of diffusers, which is not installed here. Install it with: "
        "pip install diffusers"
    ) from problem

from .scheduler import LGSScheduler, LGSSchedulerOutput

__all__ = ["LGSScheduler", "LGSSchedulerOutput"]
