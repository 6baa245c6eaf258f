"""ComfyUI's own samplers, out of a checkout, without starting ComfyUI.

Its sampling modules import the rest of it: memory management, model patching, progress bars that know of both. None
of that is needed to sample from a function, and some of it looks for a GPU when it is imported. So stand-ins take
its place while the modules are loaded; afterwards `sys.modules` is as it was, and several checkouts can be loaded in
one process. The noise schedule is ComfyUI's own: samplers read from it what process it is, and where it begins and
ends.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import trange

MODULES = ("comfy.k_diffusion.sampling", "comfy.extra_samplers.uni_pc")
"""Where samplers are."""


def _not_loaded(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("expected sampling from a function alone, got a call of a part of ComfyUI without one")


STAND_INS = {
    "comfy.model_patcher": {"set_model_options_post_cfg_function": _not_loaded},
    "comfy.memory_management": {"aimdo_enabled": False},
    "comfy.utils": {"model_trange": trange},
    "comfy.ldm.modules.diffusionmodules.util": {"make_beta_schedule": _not_loaded},
}
"""What the modules import of the rest of ComfyUI: guidance's hooks, the progress bar, tables of betas."""


class Host:
    """The samplers of one checkout."""

    def __init__(self, folder: Path):
        self.version = version(folder)
        with _importing(folder):
            self._modules = [importlib.import_module(name) for name in MODULES]
            self._schedules = importlib.import_module("comfy.model_sampling")

    def has(self, function: str) -> bool:
        return any(hasattr(module, function) for module in self._modules)

    def sample(
        self,
        function: str,
        denoise: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        sigmas: Tensor,
        noise: Callable[..., Tensor],
        process: str,
    ) -> Tensor:
        """As `evidence.rivals.sample`, by the function of that name."""
        sampler = next(getattr(module, function) for module in self._modules if hasattr(module, function))
        # Those that add noise by themselves would draw it from the global generator.
        own = {"noise_sampler": noise} if "noise_sampler" in inspect.signature(sampler).parameters else {}
        model = Model(denoise, self.schedule(sigmas, process))
        # UniPC makes its coefficients of the levels, and in the default dtype.
        with _default_dtype(x.dtype):
            return sampler(model, x, sigmas.to(x.dtype), extra_args={}, disable=True, **own)

    def schedule(self, sigmas: Tensor, process: str) -> Any:
        """ComfyUI's ``model_sampling`` over these levels.

        Put together as its models' are: out of a schedule and of what the process is. SA-Solver adds noise from
        a fifth to four fifths of the way through it, in the logarithm of sigma or, for a flow, in sigma.
        """
        known = self._schedules
        if process == "flow":
            return _mixed(known.ModelSamplingDiscreteFlow, known.CONST, shift=1.0)
        levels = {"sigma_min": sigmas[-2].item(), "sigma_max": sigmas[0].item(), "sigma_data": 1.0}
        return _mixed(known.ModelSamplingContinuousEDM, known.EPS, **levels)


class Model:
    """A denoiser with what ComfyUI's samplers look up in theirs: a schedule, at the two places where it is."""

    def __init__(self, denoise: Callable[[Tensor, Tensor], Tensor], schedule: Any):
        self._denoise = denoise
        self._schedule = schedule
        self.inner_model = SimpleNamespace(
            inner_model=SimpleNamespace(model_sampling=schedule),
            model_patcher=SimpleNamespace(get_model_object=self._object),
        )

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        return self._denoise(x, sigma)

    def _object(self, name: str) -> Any:
        if name != "model_sampling":
            raise AttributeError(f"expected a sampler that looks up model_sampling alone, got one that wants {name}")
        return self._schedule


@functools.cache
def load(folder: Path) -> Host:
    """The samplers of a checkout, loaded once; raises FileNotFoundError if it is none."""
    if not (folder / "comfy" / "k_diffusion" / "sampling.py").is_file():
        raise FileNotFoundError(
            f"COMFYUI_PATH: expected a checkout of ComfyUI, with comfy/k_diffusion/sampling.py, got {folder}; "
            "set it to one, or leave it unset to do without"
        )
    return Host(folder)


def version(folder: Path) -> str:
    """Of a checkout, as it names itself."""
    file = folder / "comfyui_version.py"
    found = re.search(r'__version__ *= *"([^"]+)"', file.read_text()) if file.is_file() else None
    return found[1] if found else "of unknown version"


def _mixed(schedule: type, kind: type, **settings: float) -> Any:
    return type("ModelSampling", (schedule, kind), {})(SimpleNamespace(sampling_settings=settings))


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _importing(folder: Path) -> Iterator[None]:
    """``comfy`` is that folder's, with `STAND_INS`, and gone afterwards."""

    def is_comfy(name: str) -> bool:
        return name == "comfy" or name.startswith("comfy.")

    before = {name: module for name, module in sys.modules.items() if is_comfy(name)}
    for name in before:
        del sys.modules[name]
    package = ModuleType("comfy")
    package.__path__ = [str(folder / "comfy")]
    sys.modules["comfy"] = package
    for name, contents in STAND_INS.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(contents)
    # `importlib` keeps what it saw of a folder; of a checkout that has just been made, nothing.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for name in [name for name in sys.modules if is_comfy(name)]:
            del sys.modules[name]
        sys.modules.update(before)
