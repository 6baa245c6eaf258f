"""A ComfyUI that is started for one batch, and ends with it, even where that is killed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from .errors import BatchError
from .store import writing

START_SECONDS = 300
STOP_SECONDS = 20

GUARD = """
import os, subprocess, sys, threading
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
def end_with_the_batch():
    os.read(0, 1)
    server.terminate()
    try:
        server.wait(float(sys.argv[1]))
    except subprocess.TimeoutExpired:
        server.kill()
threading.Thread(target=end_with_the_batch, daemon=True).start()
os._exit(server.wait() & 255)
"""
"""A process between this one and the server, with a pipe from here as its stdin. When this process ends, in
whatever way, the system closes the pipe. A server that outlived a killed batch would keep its memory."""


@contextlib.contextmanager
def started(checkout: Path, python: str, arguments: list[str], log: Path) -> Iterator[str]:
    """Starts the ComfyUI of a checkout on a loopback port; gives its address. Raises BatchError."""
    if not (checkout / "main.py").is_file():
        raise BatchError(f"--comfyui {checkout}: expected the folder of ComfyUI, which holds main.py, got another.")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    command = [python, "main.py", "--listen=127.0.0.1", f"--port={port}", "--disable-auto-launch", *arguments]
    if Path(python).exists():
        python = str(Path(python).absolute())  # relative to here, not to the checkout
    with writing(log):
        out = log.open("wb")
    with out:
        guard = subprocess.Popen(
            [sys.executable, "-c", GUARD, str(STOP_SECONDS / 2), *command],
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # or Ctrl-C would end the server before the batch has stopped
        )
    try:
        _wait_until_ready(guard, address, log)
        yield address
    finally:
        guard.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            guard.wait(STOP_SECONDS)


def _wait_until_ready(guard: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if guard.poll() is not None:
            raise BatchError(
                f"expected ComfyUI to start, and it ended with status {guard.returncode}. Does --python have ComfyUI's "
                f"requirements? The end of its log, {log}:\n{_tail(log)}"
            )
        try:
            urllib.request.urlopen(f"http://{address}/system_stats", timeout=5).close()
            return
        except OSError:  # URLError is one
            time.sleep(0.25)
    raise BatchError(f"expected ComfyUI to answer within {START_SECONDS} s, got nothing. Its log, {log}:\n{_tail(log)}")


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
