"""The state of this thread while a model is differentiated in forward mode."""

from __future__ import annotations

import sys

import torch
from torch.autograd import forward_ad

from .attention import DifferentiableAttention


class ForwardLevel:
    """Torch's one forward-mode level, with what a model needs to be differentiated as it is.

    * Gradient recording and inference mode are off. Hosts sample in inference mode, in which dual
      numbers lose their tangents silently; and a model whose weights were made in it cannot
      record gradients.
    * Fused attention has a tangent: see `DifferentiableAttention`.
    * What ``torch.compile`` has made runs as it was written: inductor's code drops tangents without
      a word, too. Torch has one switch for the process, so other threads' models do likewise meanwhile.

    Not built of torch's context managers: a signal (Ctrl-C) can be raised between any two lines,
    and one that arrived between the entering of a context and the keeping of it would leave the
    thread in the wrong mode for good. Here whatever may have been entered is known beforehand, or can
    be asked for; each change is one call into C++ or one assignment; and `close` can be called at any
    time and more than once.
    """

    def __init__(self):
        self._mode = None
        self._may_be_open = False
        self._attention = DifferentiableAttention()
        self._stance = None

    def open(self) -> None:
        if forward_ad._current_level >= 0:
            raise RuntimeError("forward mode: torch has a single level of it, which is in use already")
        self._mode = torch._C._InferenceMode(False)
        self._mode.__enter__()
        torch._C._set_grad_enabled(False)
        self._may_be_open = True
        try:
            forward_ad._current_level = torch._C._enter_dual_level()
        except RuntimeError:
            self._may_be_open = False  # another thread was faster, and the level is its own
            raise
        # Only now: the level is what keeps two threads from changing the stance at once.
        compiler = _compiler()
        if compiler is not None:
            self._stance = compiler._stance
            compiler._stance = compiler.DynamoStance("force_eager")
        self._attention.__enter__()

    def close(self) -> None:
        self._attention.leave()
        if self._stance is not None:
            _compiler()._stance = self._stance
            self._stance = None
        if self._may_be_open:
            try:
                torch._C._exit_dual_level(level=0)
            except RuntimeError:
                pass  # it had not come to that
            forward_ad._current_level = -1
            self._may_be_open = False
        if self._mode is not None:
            # Restores the grad mode too.
            self._mode.__exit__(None, None, None)
            self._mode = None


def _compiler():
    """The module that holds the stance of ``torch.compile``, if the host has loaded it (which takes seconds)."""
    return sys.modules.get("torch._dynamo.eval_frame")
