"""What one would use otherwise: samplers of other people's, none written anew, behind one function.

    k_diffusion.py  the PyPI package ``k-diffusion``, which ComfyUI's older samplers come from
    host.py         ComfyUI's own functions, out of the checkout that COMFYUI_PATH names
    schedulers.py   diffusers' schedulers

A rival comes from the first of these that has it, so that what k-diffusion has is the same on every machine.
All see the same noise, and each takes the noise levels as they are given: ComfyUI's graph leaves out the last but
one for UniPC, which is a matter of the schedule. `source` says where a rival comes from, with the version.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from . import host, k_diffusion, schedulers

STOCHASTIC, DETERMINISTIC = "other stochastic samplers", "deterministic solvers"
PROCESSES = ("ve", "flow")
SOURCES = ("k-diffusion", "ComfyUI", "diffusers")
"""In the order in which they are asked."""

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""D(x, sigma): the posterior mean of x, (batch, ...), for sigma of shape (batch,)."""


class Missing(Exception):
    """No source on this machine has the rival; the message says which would."""


@dataclasses.dataclass(frozen=True)
class Rival:
    """A sampler, and where it is found."""

    id: str
    """ComfyUI's name of it."""
    name: str
    family: str
    """`STOCHASTIC` or `DETERMINISTIC`."""
    evaluations: int = 1
    """Of the model, in each step but the last, which takes one."""
    k_diffusion: str = ""
    """A function of ``k_diffusion.sampling``."""
    host: str = ""
    """A function of one of ComfyUI's modules."""
    scheduler: schedulers.Scheduler | None = None
    without: str = ""
    """Why diffusers has none to compare with."""

    @property
    def stochastic(self) -> bool:
        return self.family == STOCHASTIC


_NONE = "diffusers has no scheduler for it"

_ALL = (
    Rival(
        "euler",
        "Euler",
        DETERMINISTIC,
        k_diffusion="sample_euler",
        host="sample_euler",
        without="left out: k-diffusion's is always there",
    ),
    Rival(
        "euler_ancestral",
        "Euler ancestral",
        STOCHASTIC,
        k_diffusion="sample_euler_ancestral",
        host="sample_euler_ancestral",
        scheduler=schedulers.Scheduler("LTXEulerAncestralRFScheduler", processes=("flow",)),
    ),
    Rival(
        "heun",
        "Heun",
        DETERMINISTIC,
        evaluations=2,
        k_diffusion="sample_heun",
        host="sample_heun",
        without="left out: k-diffusion's is always there",
    ),
    Rival(
        "dpmpp_2m",
        "DPM-Solver++(2M)",
        DETERMINISTIC,
        k_diffusion="sample_dpmpp_2m",
        host="sample_dpmpp_2m",
        scheduler=schedulers.Scheduler("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    ),
    Rival(
        "dpmpp_2m_sde",
        "DPM-Solver++(2M) SDE",
        STOCHASTIC,
        k_diffusion="sample_dpmpp_2m_sde",
        host="sample_dpmpp_2m_sde",
        scheduler=schedulers.Scheduler("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ),
    Rival(
        "dpmpp_3m_sde",
        "DPM-Solver++(3M) SDE",
        STOCHASTIC,
        k_diffusion="sample_dpmpp_3m_sde",
        host="sample_dpmpp_3m_sde",
        without="its third-order stochastic update subtracts a half of the second difference where the integral "
        "of the quadratic adds it",
    ),
    Rival(
        "uni_pc",
        "UniPC, B₁",
        DETERMINISTIC,
        host="sample_unipc",
        scheduler=schedulers.Scheduler("UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh1"}),
    ),
    Rival(
        "uni_pc_bh2",
        "UniPC, B₂",
        DETERMINISTIC,
        host="sample_unipc_bh2",
        scheduler=schedulers.Scheduler("UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh2"}),
    ),
    Rival(
        "ipndm",
        "iPNDM",
        DETERMINISTIC,
        host="sample_ipndm",
        scheduler=schedulers.Scheduler("IPNDMScheduler"),
    ),
    Rival(
        "deis",
        "DEIS",
        DETERMINISTIC,
        host="sample_deis",
        scheduler=schedulers.Scheduler("DEISMultistepScheduler", {"solver_order": 3}),
    ),
    Rival("res_multistep", "RES, multistep", DETERMINISTIC, host="sample_res_multistep", without=_NONE),
    Rival("er_sde", "ER-SDE", STOCHASTIC, host="sample_er_sde", without=_NONE),
    Rival(
        "sa_solver",
        "SA-Solver",
        STOCHASTIC,
        host="sample_sa_solver",
        scheduler=schedulers.Scheduler("SASolverScheduler", {"predictor_order": 3, "corrector_order": 4}),
    ),
    Rival(
        "gradient_estimation", "Gradient estimation", DETERMINISTIC, host="sample_gradient_estimation", without=_NONE
    ),
    Rival("seeds_2", "SEEDS-2", STOCHASTIC, evaluations=2, host="sample_seeds_2", without=_NONE),
    Rival(
        "exp_heun_2_x0_sde",
        "Exponential Heun, SDE",
        STOCHASTIC,
        evaluations=2,
        host="sample_exp_heun_2_x0_sde",
        without=_NONE,
    ),
)

RIVALS = {rival.id: rival for rival in _ALL}
"""By id."""


def checkout() -> Path | None:
    """The ComfyUI checkout that COMFYUI_PATH names, if it is set."""
    return Path(os.environ["COMFYUI_PATH"]) if os.environ.get("COMFYUI_PATH") else None


def find(rival: str, process: str = "ve", source: str | None = None) -> str:
    """Which of `SOURCES` the rival of that id is taken from; ``source``: that one or none.

    Raises `Missing` if none has it, ValueError for an unknown id, process or source, and what `host.load` raises.
    """
    known, reasons = _known(rival, process, source), []
    for one in SOURCES if source is None else (source,):
        if not (reason := _why_not(known, process, one)):
            return one
        reasons.append(f"{one}: {reason}")
    raise Missing(f"{known.name} for process={process!r}: expected a source that has it, got {'; '.join(reasons)}")


def source(rival: str, process: str = "ve") -> str:
    """Where the rival is taken from, with the version; raises what `find` raises."""
    return label(find(rival, process))


def label(source: str) -> str:
    """One of `SOURCES`, with its version."""
    if source == "ComfyUI":
        return f"ComfyUI {host.load(checkout()).version}"
    return f"{source} {importlib.metadata.version(source)}"


@torch.no_grad()
def sample(
    rival: str,
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    noise: Callable[..., Tensor],
    process: str = "ve",
    source: str | None = None,
) -> Tensor:
    """Samples x_0 from x, (batch, ...), at the first of the falling noise levels ``sigmas``, which end in 0.

    ``noise(*_)`` gives standard normal noise of x's shape and dtype, a draw each time that the sampler adds some.
    ``process``: ``"ve"``, x = x_0 + sigma z, or ``"flow"``, x = (1 - sigma) x_0 + sigma z. ``source``: one of
    `SOURCES`; by default the first that has the rival. Raises what `find` raises, and ValueError for other levels.
    """
    if sigmas.ndim != 1 or len(sigmas) < 3 or sigmas[-1] != 0 or not (sigmas.diff() < 0).all():
        raise ValueError(
            f"sigmas: expected two levels or more that fall, then 0, got {sigmas.tolist()}; "
            "take them from karras_sigmas, say"
        )
    known, found = _known(rival, process, source), find(rival, process, source)
    # UniPC of ComfyUI writes into the levels that it is given.
    sigmas = sigmas.clone()
    if found == "k-diffusion":
        return k_diffusion.sample(known.k_diffusion, known.stochastic, denoise, x, sigmas, noise)
    if found == "ComfyUI":
        return host.load(checkout()).sample(known.host, denoise, x, sigmas, noise, process)
    return schedulers.sample(known.scheduler, denoise, x, sigmas, noise, process)


def evaluations(rival: str, steps: int) -> int:
    """The model evaluations of a trajectory of so many steps, the one to 0 with them."""
    return RIVALS[rival].evaluations * (steps - 1) + 1


def _known(rival: str, process: str, source: str | None) -> Rival:
    if rival not in RIVALS:
        raise ValueError(f"rival: expected one of {', '.join(RIVALS)}, got {rival!r}")
    if process not in PROCESSES:
        raise ValueError(f"process: expected one of {', '.join(PROCESSES)}, got {process!r}")
    if source is not None and source not in SOURCES:
        raise ValueError(f"source: expected one of {', '.join(SOURCES)}, got {source!r}")
    return RIVALS[rival]


def _why_not(rival: Rival, process: str, source: str) -> str:
    """Empty if the source has the rival."""
    if source == "k-diffusion":
        if not rival.k_diffusion:
            return "has no such function"
        return "its stochastic samplers know no flow" if rival.stochastic and process == "flow" else ""
    if source == "ComfyUI":
        if checkout() is None:
            return "set COMFYUI_PATH to a checkout of it"
        loaded = host.load(checkout())
        return "" if loaded.has(rival.host) else f"{loaded.version} has no {rival.host}; take a newer checkout"
    if rival.scheduler is None:
        return rival.without
    return "" if process in rival.scheduler.processes else f"{rival.scheduler.name} is for flows alone"
