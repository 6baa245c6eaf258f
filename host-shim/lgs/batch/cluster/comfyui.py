"""The actor: one ComfyUI, started or adopted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import socket
import tempfile
from pathlib import Path

from ..dispatch.dispatcher import WorkerLost
from ..errors import BatchError
from ..host import Host, connect, object_infos
from ..plan import Graph, Job
from ..run import Made, fetch, submit
from ..server import Server

OWN = ("--output-directory", "--temp-directory", "--database-url")
"""Arguments of a ComfyUI of which each that is started needs other values: two that counted the files of one folder
would write over each other's pictures."""


@dataclasses.dataclass(frozen=True)
class Adopted:
    """A ComfyUI that runs."""

    address: str


@dataclasses.dataclass(frozen=True)
class Started:
    """A ComfyUI to start, and to end with its worker. Raises BatchError for arguments that cannot be shared."""

    checkout: Path
    """The same on each node."""
    python: str
    arguments: list[str]

    def __post_init__(self):
        shared = [argument for argument in self.arguments if argument.split("=")[0] in OWN]
        if shared:
            raise BatchError(
                f"expected arguments that several ComfyUIs can share, got {' '.join(shared)}: each has its own. Leave "
                "it out: the pictures come to --out."
            )


class ComfyUI:
    """Runs jobs on one ComfyUI, one after another in the order in which they come; `start` goes first."""

    def __init__(self, which: Adopted | Started, client_id: str):
        self.which = which
        self.client_id = client_id
        self.node = socket.gethostname()
        self.host: Host | None = None
        self.server: Server | None = None
        self._connection = contextlib.AsyncExitStack()
        self._submitting, self._fetching = asyncio.Lock(), asyncio.Lock()
        self._held: set[str] = set()
        self._lost: WorkerLost | None = None

    async def start(self) -> str:
        """Gives its name, for messages. Raises BatchError."""
        try:
            address = await asyncio.to_thread(self._address)
            self.host = await self._connection.enter_async_context(connect(address, self.client_id))
        except BatchError as error:
            self._clear()
            raise BatchError(f"on node {self.node}: {error}") from error
        return f"ComfyUI at {address} on node {self.node}"

    async def object_infos(self, graph: Graph) -> dict[str, dict]:
        """See `host.object_infos`."""
        return await object_infos(self.host, graph)

    async def make(self, prompt_id: str, job: Job) -> Made:
        """Runs a job under an id. Raises BatchError where it fails, WorkerLost where the ComfyUI is gone."""
        self._held.add(prompt_id)
        try:
            async with self._submitting:
                await submit(self.host, prompt_id, job)
            # One at a time, as ComfyUI runs them. The next is in its queue meanwhile.
            async with self._fetching:
                return await fetch(self.host, prompt_id, job)
        except BatchError as error:
            await self._require(error)
            raise
        finally:
            self._held.discard(prompt_id)

    async def leave(self) -> None:
        """Leaves nothing in the queue of an adopted ComfyUI; one that was started ends with this process."""
        if isinstance(self.which, Adopted) and self.host is not None and self._held:
            await self.host.cancel(list(self._held))

    def _address(self) -> str:
        if isinstance(self.which, Adopted):
            return self.which.address
        scratch = Path(tempfile.mkdtemp(prefix="lgs-batch-"))
        values = scratch, scratch, f"sqlite:///{scratch}/comfyui.db"
        own = [f"{name}={value}" for name, value in zip(OWN, values, strict=True)]
        self.server = Server(
            self.which.checkout,
            self.which.python,
            [*self.which.arguments, *own],
            scratch / "comfyui.log",
            scratch=scratch,
        )
        self.server.start()
        return self.server.address

    async def _require(self, error: BatchError) -> None:
        """Raises WorkerLost unless the ComfyUI still answers."""
        try:
            await self.host.check()
        except BatchError:
            if self._lost is None:  # of several calls that find it gone the first reads its log
                log = f" {self.server.log_tail()}" if self.server is not None else ""
                self._lost = WorkerLost(f"{error}{log}")
                self._clear()
            raise self._lost from error

    def _clear(self) -> None:
        """Removes what a ComfyUI that has ended by itself leaves; one that is stopped does so itself."""
        if self.server is not None:
            shutil.rmtree(self.server.scratch, ignore_errors=True)
