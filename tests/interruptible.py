"""Processes that Ctrl-C reaches, as it does from a terminal. What a shell runs in the background ignores SIGINT, and so
do all of its children."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from typing import Any


def start(command: list[str], **options: Any) -> subprocess.Popen:
    """`subprocess.Popen` of one."""
    return subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)


@contextlib.contextmanager
def here() -> Iterator[None]:
    """Within, this process is one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
