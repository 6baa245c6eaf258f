"""The state of this thread while a model is differentiated in forward mode."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad


class ForwardLevel:
    """Torch's one forward-mode level, with gradient recording and inference mode off.

    Hosts sample in inference mode, in which dual numbers lose their tangents without a word; and a
    model whose weights were made in it cannot record gradients.

    Not built of torch's context managers: a signal (Ctrl-C) can be raised between any two lines,
    and one that arrived between the entering of a context and the keeping of it would leave the
    thread in the wrong mode for good. Here whatever may have been entered is known beforehand, each
    change is one call into C++, and `close` can be called at any time and more than once.
    """

    def __init__(self):
        self._mode = None
        self._may_be_open = False

    def open(self) -> None:
        if forward_ad._current_level >= 0:
            raise RuntimeError("forward mode: torch has a single level of it, which is in use already")
        self._mode = torch._C._InferenceMode(False)
        self._mode.__enter__()
        torch._C._set_grad_enabled(False)
        self._may_be_open = True
        forward_ad._current_level = torch._C._enter_dual_level()

    def close(self) -> None:
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
