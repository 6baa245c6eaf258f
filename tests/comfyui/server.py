"""A ComfyUI server with the node pack in its ``custom_nodes``, in a folder of its own.

The checkout is not written to: models, outputs, user data and custom nodes are under ``folder``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS = 180
STOP_SECONDS = 15

TINY_MODELS = Path(__file__).with_name("tiny_models")


class ComfyServer:
    """One server: `start`, then `stop`, whatever happened in between."""

    def __init__(self, checkout: Path, python: str, pack: Path, folder: Path, *arguments: str):
        self.folder = folder
        self.log = folder / "server.log"
        self.address = f"127.0.0.1:{_free_port()}"
        for name in ("custom_nodes", "input", "output", "user", "models"):
            (folder / name).mkdir(parents=True)
        for source, name in ((pack, "comfyui-lgs"), (TINY_MODELS, TINY_MODELS.name)):
            shutil.copytree(source, folder / "custom_nodes" / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.command = [
            python,
            "main.py",
            "--cpu",
            "--listen=127.0.0.1",
            f"--port={self.address.split(':')[1]}",
            "--disable-auto-launch",
            "--disable-api-nodes",
            f"--base-directory={folder}",
            f"--database-url=sqlite:///{folder}/user/comfyui.db",
            "--preview-method=latent2rgb",
            "--cache-none",  # a graph posted twice is run twice
            *arguments,
        ]
        self.checkout = checkout
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns once the server answers; a server that does not start is stopped, and its log shown."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment.setdefault("OMP_NUM_THREADS", "1")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own process group, so that all of it can be stopped
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"ComfyUI ended with status {self.process.returncode} while starting. Does COMFYUI_PYTHON "
                    f"({self.command[0]}) have the requirements of {self.checkout}?\n{self.log_tail()}"
                )
            try:
                urllib.request.urlopen(f"http://{self.address}/system_stats", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
        raise RuntimeError(f"ComfyUI did not answer within {START_SECONDS} s of starting.\n{self.log_tail()}")

    def stop(self) -> None:
        """Ends the server: politely, then not."""
        for ending in (signal.SIGTERM, signal.SIGKILL):
            if self.process is None or self.process.poll() is not None:
                return
            os.killpg(self.process.pid, ending)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(["--- the end of its log:", *self.log_text().splitlines()[-lines:]])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
