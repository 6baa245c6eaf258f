"""The state of this thread while a model is differentiated in forward mode."""

from __future__ import annotations

import os
import sys
import threading
import time

import torch
from torch.autograd import forward_ad

from .attention import DifferentiableAttention

LONGEST_WAIT = 600.0
"""Seconds to wait for another thread of ours: longer than any product takes, and an end where that thread waits for
this one."""

PATIENCE = 2.0
"""Seconds to wait for a user of torch's forward mode who is none of ours, and may be this very thread."""


class InUse(RuntimeError):
    """Torch's level of forward mode is somebody else's at present."""


class ForwardLevel:
    """Torch's one forward-mode level, with what a model needs to be differentiated as it is.

    * One thread of the process has it at a time, whichever copy of this package the thread uses: see `_lock`.
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
        self._may_hold_lock = False
        self._mode = None
        self._may_be_open = False
        self._attention = DifferentiableAttention()
        self._stance = None

    def open(self) -> None:
        """Waits for other threads; `InUse` where that would be in vain, or has been so far."""
        lock = _lock()
        if lock._is_owned():
            raise InUse("forward mode: this thread is in it already, and torch does not nest it")
        try:
            self._may_hold_lock = True
            if not lock.acquire(timeout=LONGEST_WAIT):
                raise InUse("forward mode: another thread has been in it for long; does this one hold it up?")
            self._enter()
        except BaseException:
            self.close()
            raise

    def _enter(self) -> None:
        _wait_for_others()
        self._mode = torch._C._InferenceMode(False)
        self._mode.__enter__()
        torch._C._set_grad_enabled(False)
        _open.append(self)
        self._may_be_open = True
        try:
            forward_ad._current_level = torch._C._enter_dual_level()
        except RuntimeError as error:
            self._may_be_open = False  # another thread was faster, and the level is its own
            raise InUse(f"forward mode: {error}") from None
        # Only now: the level is what keeps two threads from changing the stance at once.
        compiler = _compiler()
        if compiler is not None:
            self._stance = compiler._stance
            compiler._stance = compiler.DynamoStance("force_eager")
        self._attention.__enter__()

    @property
    def is_open(self) -> bool:
        return self._may_be_open

    def close(self) -> None:
        """At any time, and more than once."""
        self._attention.leave()
        self._leave_level()
        if self._mode is not None:
            # Restores the grad mode too.
            self._mode.__exit__(None, None, None)
            self._mode = None
        if self._may_hold_lock:
            lock = _lock()
            if lock._is_owned():
                lock.release()
            self._may_hold_lock = False

    def _leave_level(self) -> None:
        """Ends what is the process's, and not this thread's."""
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
        _open[:] = [level for level in _open if level is not self]


_open: list[ForwardLevel] = []
"""The one that is open, if there is one."""


def _lock() -> threading.RLock:
    """The lock that goes with torch's level: one a process, kept in torch, where every copy of this package finds it.

    A lock that knows its owner, so that an interrupt cannot come between having it and knowing so.
    """
    return vars(forward_ad).setdefault("_lgs_lock", threading.RLock())


def _wait_for_others() -> None:
    """Until nobody else is in forward mode who does not know of our lock."""
    until = time.monotonic() + PATIENCE
    while forward_ad._current_level >= 0:
        if time.monotonic() > until:
            raise InUse("forward mode: torch has a single level of it, which other code of this process has open")
        time.sleep(0.001)


def _after_fork() -> None:
    """In the child there is no thread but this one: what others had open is closed, and their lock is gone."""
    if _lock()._is_owned():
        return
    forward_ad._lgs_lock = threading.RLock()
    for level in list(_open):
        level._leave_level()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _compiler():
    """The module that holds the stance of ``torch.compile``, if the host has loaded it (which takes seconds)."""
    return sys.modules.get("torch._dynamo.eval_frame")
