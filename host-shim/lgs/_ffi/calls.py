"""One call into the library, and what becomes of an exception that is raised in its callbacks.

The C callbacks are made once for the process; a call finds its own state by the number that it gave
as context. So a call leaves no reference cycle and no native closure behind.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable

from .._torch.contexts import leave_contexts
from ..errors import HOST_FAILED, HOST_STOPPED, error_for
from .header import CONTINUE, FAIL, STOP, Host


class Call:
    """A call under way, as a context: until it is left, exceptions of this thread's callbacks are its own."""

    def __init__(self):
        self.exception: BaseException | None = None
        self.stopping = False

    def failed(self, exception: BaseException) -> int:
        """Keeps an exception to be raised again; gives what the callback is to answer."""
        self.exception = exception
        leave_contexts(exception)
        if self.has_another_way(exception):
            return FAIL
        self.stopping = True
        return STOP

    def has_another_way(self, exception: BaseException) -> bool:
        """Whether the library may go on after this exception. Otherwise the call ends."""
        return False

    def raise_again(self, status: int):
        """Raises what a callback has raised, if that is what the status stands for, or if the call
        has gone on to its end where it should have stopped."""
        if self.exception is None or not (self.stopping or status in (HOST_FAILED, HOST_STOPPED)):
            return
        exception, self.exception = self.exception, None
        try:
            raise exception
        finally:
            # The traceback holds this frame, and the frame must not hold the exception.
            del exception

    def finish(self, status: int, message: str) -> None:
        """Raises what ended the call: what a callback has raised, or else the library's own error, if there is one."""
        self.raise_again(status)
        if status:
            raise error_for(status, message)

    def __enter__(self):
        self.number = next(_numbers)
        _calls[self.number] = self
        _current.stack.append(self)
        _hook.enter()
        return self

    def __exit__(self, *_):
        _hook.leave()
        _current.stack.remove(self)
        del _calls[self.number]


_numbers = itertools.count(1)
_calls: dict[int, Call] = {}


class _Current(threading.local):
    def __init__(self):
        self.stack: list[Call] = []


_current = _Current()


def current_call() -> Call | None:
    """The innermost call of this thread that is under way."""
    return _current.stack[-1] if _current.stack else None


FUNCTIONS: set[Callable] = set()
"""The Python functions behind the C callbacks."""


def callback(field: str, even_when_stopping: bool = False):
    """Makes a C callback for a field of `Host` of ``body(call, ...)``, which does its work or raises."""

    def make(body):
        def entry(context, *arguments):
            call = _calls[context]
            try:
                if call.stopping and not even_when_stopping:
                    return STOP
                body(call, *arguments)
                return CONTINUE
            except BaseException as exception:
                return call.failed(exception)

        FUNCTIONS.add(entry)
        return Host.type_of(field)(entry)

    return make


class _UnraisableHook:
    """Catches what is raised in a callback before its first line runs.

    A signal (Ctrl-C) that arrives while native code is at work is delivered at the very start of
    the next callback, outside its ``try``. ctypes can only report such an exception to
    ``sys.unraisablehook``, and returns an undefined value in place of the answer. While a call
    is under way, this hook takes what belongs to the call, and passes on the rest; the next callback
    stops the call, or `Call.raise_again` at its end does.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._users = 0
        self._previous = None

    def enter(self):
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._previous, sys.unraisablehook = sys.unraisablehook, self

    def leave(self):
        with self._lock:
            self._users -= 1
            if self._users == 0:
                if sys.unraisablehook is self:
                    sys.unraisablehook = self._previous
                self._previous = None

    def __call__(self, unraisable):
        # Python 3.13 names the callback in the message alone.
        ours = unraisable.object in FUNCTIONS or "ctypes callback" in (unraisable.err_msg or "")
        call = current_call()
        if ours and call is not None:
            call.exception = unraisable.exc_value or unraisable.exc_type()
            call.stopping = True
        else:
            (self._previous or sys.__unraisablehook__)(unraisable)


_hook = _UnraisableHook()
