"""A ComfyUI that is started from here, and ends with this process, even where that is killed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .errors import BatchError
from .guarded import Guarded


class Server(Guarded):
    """One ComfyUI on a loopback port: `start`, then `stop`, whatever happened in between. ``scratch`` as `Guarded`."""

    def __init__(
        self,
        checkout: Path,
        python: str,
        arguments: list[str],
        log: Path,
        environment: dict[str, str] | None = None,
        scratch: Path | None = None,
    ):
        super().__init__("ComfyUI", "/system_stats", log, environment, scratch)
        if Path(python).exists():
            python = str(Path(python).absolute())  # relative to here, not to the checkout
        self.checkout = checkout
        own = ["main.py", "--listen=127.0.0.1", f"--port={self.port}", "--disable-auto-launch"]
        self.command = [python, *own, *arguments]

    def start(self) -> None:
        """Returns once the server answers. Raises BatchError, with the end of the log, if it does not start."""
        if not (self.checkout / "main.py").is_file():
            raise BatchError(f"{self.checkout}: expected the folder of ComfyUI, which holds main.py, got another.")
        hint = f"Does {self.command[0]} have the requirements of {self.checkout}? "
        self.run(self.command, self.checkout, hint)


@contextlib.contextmanager
def started(checkout: Path, python: str, arguments: list[str], log: Path) -> Iterator[str]:
    """Starts the ComfyUI of a checkout; gives its address. Raises BatchError."""
    server = Server(checkout, python, arguments, log)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()
