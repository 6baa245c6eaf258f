"""A ComfyUI that is started from here, and ends with this process, even where that is killed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
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


class Server:
    """One ComfyUI on a loopback port: `start`, then `stop`, whatever happened in between.

    ``scratch`` is a folder that is removed once the server has been stopped, or whoever started it has ended.
    """

    def __init__(
        self,
        checkout: Path,
        python: str,
        arguments: list[str],
        log: Path,
        environment: dict[str, str] | None = None,
        scratch: Path | None = None,
    ):
        if Path(python).exists():
            python = str(Path(python).absolute())  # relative to here, not to the checkout
        self.checkout = checkout
        self.log = log
        self.environment = environment
        self.scratch = scratch
        self.address = f"127.0.0.1:{_free_port()}"
        port = self.address.split(":")[1]
        self.command = [python, "main.py", "--listen=127.0.0.1", f"--port={port}", "--disable-auto-launch", *arguments]
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns once the server answers. Raises BatchError, with the end of the log, if it does not start."""
        if not (self.checkout / "main.py").is_file():
            raise BatchError(f"{self.checkout}: expected the folder of ComfyUI, which holds main.py, got another.")
        with writing(self.log):
            out = self.log.open("wb")
        with out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", GUARD, str(STOP_SECONDS / 2), str(self.scratch or ""), *self.command],
                cwd=self.checkout,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                **APART,
            )
        try:
            self._wait_until_ready()
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

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BatchError(
                    f"expected ComfyUI to start, and it ended with status {self.process.returncode}. Does "
                    f"{self.command[0]} have the requirements of {self.checkout}? {self.log_tail()}"
                )
            try:
                urllib.request.urlopen(f"http://{self.address}/system_stats", timeout=5).close()
                return
            except (OSError, HTTPException):
                time.sleep(0.25)
        raise BatchError(f"expected ComfyUI to answer within {START_SECONDS} s, got nothing. {self.log_tail()}")

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join([f"The end of its log, {self.log}:", *self.log_text().splitlines()[-lines:]])


@contextlib.contextmanager
def started(checkout: Path, python: str, arguments: list[str], log: Path) -> Iterator[str]:
    """Starts the ComfyUI of a checkout; gives its address. Raises BatchError."""
    server = Server(checkout, python, arguments, log)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
