"""Processes that Ctrl-C reaches, as it does from a terminal."""

import signal
import subprocess
from typing import Any


def start(command: list[str], **options: Any) -> subprocess.Popen:
    """`subprocess.Popen`. What a shell runs in the background ignores SIGINT, and so would all of its children."""
    return subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)
