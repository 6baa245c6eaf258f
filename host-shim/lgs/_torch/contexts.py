"""Context managers that a signal has interrupted half way."""

from __future__ import annotations

import contextlib
import traceback

_OF_CONTEXTS = {getattr(contextlib._GeneratorContextManager, name).__code__ for name in ("__enter__", "__exit__")}


def leave_contexts(exception: BaseException) -> None:
    """Leaves the ``contextlib.contextmanager`` that a signal has interrupted at entering or leaving.

    The traceback holds it, half done: it would undo what it did whenever the traceback is freed, long
    after the call. Torch takes a mode off the stack in one, and would put ours back.
    """
    for frame, _line in traceback.walk_tb(exception.__traceback__):
        if frame.f_code in _OF_CONTEXTS:
            frame.clear()
