"""A function that asks as it goes, in a thread of its own: each question comes out here, and waits for its answer."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from .errors import InvalidArgument

Question = tuple[str, tuple]
"""What is asked, and with which arguments; ``RESULT`` with the function's result is the last one."""

RESULT = "result"


class Asking(threading.Thread):
    """``function(ask)`` in a thread of its own, where ``ask(name, *arguments)`` gives what `answer` was called with.

    One question is open at a time. The thread ends with the function, or at the next question once it is abandoned;
    whoever starts it has to see to that. It is no reason for Python to go on: what is under way at its exit is ended.
    """

    def __init__(self, function: Callable[[Callable[..., Any]], Any]):
        super().__init__(name="lgs.Trajectory", daemon=True)
        self._function = function
        self._questions: SimpleQueue[Question | _Raised] = SimpleQueue()
        self._answers: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self._process = os.getpid()
        self._is_abandoned = False

    def first(self) -> Question:
        """Starts the thread; its first question."""
        _threads.add(self)
        self.start()
        return self._next()

    def answer(self, value: Any) -> Question:
        """Answers the open question; the next one. What the function raises comes out of here."""
        return self._reply(lambda: value)

    def fail(self, exception: BaseException) -> Question:
        """Answers by an exception, which ``ask`` raises."""

        def give():
            raise exception

        return self._reply(give)

    def abandon(self) -> None:
        """Has the thread end, without waiting for it. At any time, from any thread, and more than once."""
        self._is_abandoned = True
        self._answers.put(_abandoned)

    def _reply(self, give: Callable[[], Any]) -> Question:
        if os.getpid() != self._process:
            raise InvalidArgument(
                "trajectory: expected the process that made it, got one that was forked from it since, in which its "
                "thread does not run. Make a trajectory in each process."
            )
        if self._is_abandoned:
            raise InvalidArgument("trajectory: expected one that is under way, got one that is closed. Make a new one.")
        self._answers.put(give)
        return self._next()

    def _next(self) -> Question:
        question = self._questions.get()
        if not isinstance(question, _Raised):
            return question
        exception = question.exception
        del question
        try:
            raise exception
        finally:
            # The traceback holds this frame, and the frame must not hold the exception.
            del exception

    def run(self) -> None:
        try:
            self._questions.put((RESULT, (self._function(self._ask),)))
        except _Abandoned:
            pass
        except BaseException as exception:
            self._questions.put(_Raised(exception))
        finally:
            del self._function

    def _ask(self, name: str, *arguments: Any) -> Any:
        self._questions.put((name, arguments))
        return self._answers.get()()


class _Abandoned(BaseException):
    """Nobody waits for the function any more."""


class _Raised:
    """What the function has raised."""

    def __init__(self, exception: BaseException):
        self.exception = exception


def _abandoned() -> None:
    raise _Abandoned


_threads: weakref.WeakSet[Asking] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """A thread that is inside native code when Python goes away takes the process down with it."""
    for thread in list(_threads):
        thread.abandon()
        if thread.is_alive():
            thread.join()
