"""What a fit that was stopped knows already, kept in a file beside the one that it will write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from torch import Tensor

from ..errors import InvalidArgument
from . import files

FAMILY = "unfinished"

SECONDS = 30.0
"""It is written at most so often, and when the fit is stopped."""


class Unfinished:
    """The tensors that a fit goes on from; ``file`` None: nothing is kept.

    ``settings``: what the fit depends on, texts by name. Raises `lgs.InvalidArgument` where the file is of a fit with
    other settings.
    """

    def __init__(self, file: str | PathLike[str] | None, settings: Mapping[str, str]):
        self.file = None if file is None else Path(file)
        self.settings = dict(settings)
        self.tensors: dict[str, Tensor] = {}
        self._written = time.monotonic()
        if self.file is not None and self.file.exists():
            _, self.tensors, settings = files.read(self.file, FAMILY)
            differ = [name for name in self.settings if settings.get(name) != self.settings[name]]
            if differ:
                told = ", ".join(f"{name} {self.settings[name]} (it has {settings.get(name)})" for name in differ)
                raise InvalidArgument(
                    f"resume: expected what is left of a fit with {told}, got {self.file} of another; delete it to fit "
                    "from the beginning"
                )

    @contextmanager
    def kept(self, state: Callable[[], dict[str, Tensor]]) -> Iterator[Callable[[], None]]:
        """Gives what to call after each part of the work. However the work ends early, ``state()`` is written; once it
        is done, the file is gone."""

        def write() -> None:
            self._written = time.monotonic()
            if self.file is not None and (tensors := state()):
                files.write(self.file, FAMILY, tensors, self.settings)

        def now_and_then() -> None:
            if time.monotonic() - self._written > SECONDS:
                write()

        try:
            yield now_and_then
        except BaseException:
            write()
            raise
        if self.file is not None:
            self.file.unlink(missing_ok=True)
