"""A server that is started from here, and ends with this process, even where that is killed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from .errors import BatchError
from .files import writing

START_SECONDS = 300
STOP_SECONDS = 20

# Without it Ctrl-C would end the server before the batch has stopped; and on Windows a console window would open.
APART = (
    {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    if sys.platform == "win32"
    else {"start_new_session": True}
)

GUARD = """
import os, shutil, subprocess, sys, threading
stop_seconds, scratch, *command = sys.argv[1:]
if hasattr(os, "fork") and (guard := os.fork()):
    os._exit(os.waitstatus_to_exitcode(os.waitpid(guard, 0)[1]) & 255)
server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
asked = threading.Event()
def end_with_the_one_who_started_it():
    os.read(0, 1)
    asked.set()
    server.terminate()
    try:
        server.wait(float(stop_seconds))
    except subprocess.TimeoutExpired:
        server.kill()
threading.Thread(target=end_with_the_one_who_started_it, daemon=True).start()
status = server.wait()
if scratch and asked.is_set():
    shutil.rmtree(scratch, ignore_errors=True)
os._exit(status & 255)
"""
"""A process between this one and the server, with a pipe from here as its stdin. When this process ends, in
whatever way, the system closes the pipe. A server that outlived a killed batch would keep its memory.

It is a grandchild: Ray kills the children of a worker that ends, and theirs it does not. With the server goes what it
has written into ``scratch``, unless it ended by itself: then its log is still read."""


class Guarded:
    """A server on a loopback port: `run`, then `stop`, whatever happened in between.

    ``name`` is what it is called in messages, and ``answers`` a path at which it answers once it is ready. ``scratch``
    is a folder that is removed once the server has been stopped, or whoever started it has ended.
    """

    def __init__(
        self, name: str, answers: str, log: Path, environment: dict[str, str] | None = None, scratch: Path | None = None
    ):
        self.name, self.answers, self.log, self.environment, self.scratch = name, answers, log, environment, scratch
        self.address = f"127.0.0.1:{_free_port()}"
        self.port = self.address.split(":")[1]
        self.process: subprocess.Popen | None = None

    def run(self, command: Sequence[str], folder: Path | None = None, hint: str = "") -> None:
        """Returns once the server answers. Raises BatchError, with ``hint`` and the end of the log, if it does not
        start."""
        with writing(self.log):
            out = self.log.open("wb")
        with out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", GUARD, str(STOP_SECONDS / 2), str(self.scratch or ""), *command],
                cwd=folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                **APART,
            )
        try:
            self._wait_until_ready(self.process, hint)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the server: politely, then not."""
        if self.process is None:
            return
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join([f"The end of its log, {self.log}:", *self.log_text().splitlines()[-lines:]])

    def _wait_until_ready(self, process: subprocess.Popen, hint: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise BatchError(
                    f"expected {self.name} to start, and it ended with status {process.returncode}. {hint}"
                    f"{self.log_tail()}"
                )
            try:
                urllib.request.urlopen(f"http://{self.address}{self.answers}", timeout=5).close()
                return
            except (OSError, HTTPException):
                time.sleep(0.25)
        raise BatchError(f"expected {self.name} to answer within {START_SECONDS} s, got nothing. {self.log_tail()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
