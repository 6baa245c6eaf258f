"""The JVP method that was chosen for a model, cached as long as the model lives.

How a model is best differentiated is found out on its first step, which costs some evaluations
more. The next trajectory through the same model begins with the answer, and with the very products
that the first one chose: the same seed gives the same picture.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Hashable

from torch import Tensor

from ._ffi import Choice
from .options import Options

_cache: dict[int, tuple[weakref.ref, dict[Hashable, tuple[int, int, int]]]] = {}
"""By the model's id. Not a WeakKeyDictionary: a signal (Ctrl-C) that arrives in the callback by which
that forgets what has died would be lost."""
_lock = threading.Lock()

_UNDECIDED = (0, 0, 0)


class CachedChoice:
    """The choice for ``model`` (any object; a bound method stands for its object) and tensors like x."""

    def __init__(self, model: object, x: Tensor, options: Options):
        self._model = getattr(model, "__self__", model)
        self._key = (tuple(x.shape), x.dtype, x.device, options.precision, options.lanczos_steps)
        with _lock:
            reference, choices = _cache.get(id(self._model), (None, {}))
        if reference is None or reference() is not self._model:
            choices = {}
        self.struct = Choice.sized(*choices.get(self._key, _UNDECIDED))
        """For the library, which reads it and writes what it chose."""

    def store(self) -> None:
        """Keeps the choice for the next call, where the model is an object that can be referred to weakly."""
        chosen = self.struct.jvp, self.struct.doubled_batch, self.struct.coarse
        if chosen == _UNDECIDED:
            return
        try:
            own = weakref.ref(self._model)
        except TypeError:
            return
        with _lock:
            for dead in [key for key, (reference, _) in _cache.items() if reference() is None]:
                del _cache[dead]
            _cache.setdefault(id(self._model), (own, {}))[1][self._key] = chosen
