"""What was found out about a model, kept as long as the model lives.

How a model is best differentiated is found out on its first step, which costs some evaluations
more. The next trajectory through the same model begins with the answer, and with the very products
that the first one chose: the same seed gives the same picture.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable
from ctypes import sizeof

from torch import Tensor

from ._native import Choice
from .options import Options

_known: dict[int, tuple[weakref.ref, dict[Hashable, tuple[int, int, int]]]] = {}
"""By the model's id. Not a WeakKeyDictionary: a signal (Ctrl-C) that arrives in the callback by which
that forgets what has died would be lost."""
_lock = threading.Lock()

_NOTHING = (0, 0, 0)


class Remembered:
    """The choice for ``model`` (any object; a bound method stands for its object) and tensors like x."""

    def __init__(self, model: object, x: Tensor, options: Options):
        self._model = getattr(model, "__self__", model)
        self._key = (tuple(x.shape), x.dtype, x.device, options.precision, options.lanczos_steps)
        with _lock:
            reference, choices = _known.get(id(self._model), (None, {}))
        if reference is None or reference() is not self._model:
            choices = {}
        self.choice = Choice(sizeof(Choice), *choices.get(self._key, _NOTHING))

    def keep(self) -> None:
        """Keeps the choice for the next call, where the model is an object that can be referred to weakly."""
        found = self.choice.jvp, self.choice.doubled_batch, self.choice.coarse
        if found == _NOTHING:
            return
        try:
            own = weakref.ref(self._model)
        except TypeError:
            return
        with _lock:
            for dead in [key for key, (reference, _) in _known.items() if reference() is None]:
                del _known[dead]
            _known.setdefault(id(self._model), (own, {}))[1][self._key] = found
