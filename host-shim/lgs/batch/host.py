"""A running ComfyUI: its queue, its history, and the pictures that it made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import TypeAdapter, ValidationError

from .answers import Accepted, Entry, Event, File, NodeClass, Queue, Step, SystemStats
from .errors import BatchError
from .plan import Graph
from .untrusted import decoded

POLL_SECONDS = 1.0
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=300)
"""A server that loads a model may leave requests waiting for minutes."""

MOST_BYTES = 1 << 28
"""Of one answer. The largest are pictures, and histories of long prompts."""

AGAIN = "Run the same command again: the pictures that are finished are kept."
FIX = "Fix the workflow or leave this setting out, and run the command again: the pictures that are finished are kept."

Kind = TypeVar("Kind")

Progress = Callable[[float, float], None]
"""Called with the step that the running node has reached, and of how many."""


class Host:
    """A client of one server: see `connect`. Every method raises BatchError if the server is gone, or answers what
    ComfyUI does not."""

    def __init__(self, session: aiohttp.ClientSession, address: str, client_id: str):
        self.session = session
        self.address = address
        self.url = (address if "://" in address else f"http://{address}").rstrip("/")
        self.client_id = client_id
        self.version: str | None = None
        self.progress: Progress = lambda value, most: None
        self._something_ended = asyncio.Event()

    async def check(self) -> None:
        """Raises BatchError unless a ComfyUI answers; it says its version, too."""
        self.version = (await self._answer(SystemStats, "GET", "/system_stats")).version

    async def object_info(self, class_type: str) -> dict | None:
        """What ComfyUI says about a class of nodes; None if it has none of this name."""
        path = f"/object_info/{quote(class_type, safe='')}"
        raw = await self._json("GET", path)
        self._of_type(dict[str, NodeClass], raw, path)
        return raw.get(class_type)

    async def submit(self, prompt_id: str, graph: Graph) -> None:
        """Queues a graph under an id, unless it is queued or has succeeded under it. Raises BatchError if refused."""
        if await self._queued(prompt_id):  # first: in between it may go from the queue to the history
            return
        entry = await self._entry(prompt_id)
        if entry and entry.succeeded:
            return
        content = {"prompt": graph, "prompt_id": prompt_id, "client_id": self.client_id}
        answer = await self._answer(Accepted, "POST", "/prompt", refused=(400,), json=content)
        if answer.node_errors and answer.error is None:
            await self.cancel([prompt_id])  # it has queued those of the outputs that it found nothing wrong with
        if refusal := answer.refusal():
            raise BatchError(f"expected a workflow that ComfyUI takes, got a refusal. {refusal}. {FIX}")
        if answer.prompt_id != prompt_id:
            raise BatchError(
                f"{self.address}: expected a ComfyUI that takes the id of a prompt from its client, as 0.3.64 and "
                f"later do, got one that named it {answer.prompt_id!r:.80}. Update ComfyUI."
            )

    async def finished(self, prompt_id: str) -> Entry:
        """Waits for a submitted graph; gives its entry in the history."""
        self._something_ended.clear()
        # The queue first: while it is there, the history has at most an earlier run of it, which failed.
        while await self._queued(prompt_id):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._something_ended.wait(), POLL_SECONDS)
            self._something_ended.clear()
        entry = await self._entry(prompt_id)
        if entry is None:
            raise BatchError(f"{self.address}: expected a job to be in its queue, and it was taken out. {AGAIN}")
        return entry

    async def picture(self, file: File) -> bytes:
        """The bytes of a file that an entry of the history names."""
        async with self._request("GET", "/view", params=file.model_dump()) as answer:
            if answer.status == 404:
                raise BatchError(
                    f"{self.address}: expected the picture {file.filename}, which it says it has made, and it is "
                    "not there: it was deleted or moved from ComfyUI's output folder. Restart ComfyUI, so that it "
                    "forgets it, and run the same command again: the pictures that are finished are kept."
                )
            await self._expect_ok(answer)
            return await self._content(answer)

    async def cancel(self, prompt_ids: list[str]) -> None:
        """Takes graphs out of the queue, and stops the one that runs."""
        for path, content in [
            ("/queue", {"delete": prompt_ids}),
            *(("/interrupt", {"prompt_id": p}) for p in prompt_ids),
        ]:
            async with self._request("POST", path, json=content) as answer:
                await self._expect_ok(answer)

    async def listen(self) -> None:
        """Follows the websocket: for the progress of a step, and so as not to wait out `POLL_SECONDS`.

        Nothing depends on it, so when it breaks this ends, and the next request says what is wrong.
        """
        try:
            async with self.session.ws_connect(f"{self.url}/ws", params={"clientId": self.client_id}) as socket:
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        continue  # previews
                    with contextlib.suppress(ValueError):  # events of node packs may be anything
                        self._heard(Event.model_validate(decoded(message.data)))
        except aiohttp.ClientError:
            return

    def _heard(self, event: Event) -> None:
        if event.type == "progress":
            step = Step.model_validate(event.data)
            self.progress(step.value, step.max)
        if event.type == "status" or (event.type == "executing" and event.data.get("node") is None):
            self._something_ended.set()

    async def _entry(self, prompt_id: str) -> Entry | None:
        return (await self._answer(dict[str, Entry], "GET", f"/history/{prompt_id}")).get(prompt_id)

    async def _queued(self, prompt_id: str) -> bool:
        return (await self._answer(Queue, "GET", "/queue")).has(prompt_id)

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, **content) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self.session.request(method, f"{self.url}{path}", **content) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError, UnicodeError) as error:
            raise BatchError(
                f"{self.address}: expected a running ComfyUI, got {str(error) or type(error).__name__}. Start it, or "
                f"give another --server, or let this command start one with --comfyui. {AGAIN}"
            ) from error

    async def _expect_ok(self, answer: aiohttp.ClientResponse) -> None:
        if not answer.ok:
            said = (await self._content(answer)).decode(errors="replace")[:300].strip() or "nothing more"
            raise BatchError(
                f"{answer.url}: expected an answer of ComfyUI, got status {answer.status} {answer.reason}: {said}. If "
                "something between here and ComfyUI asks for a password, give the --server behind it."
            )

    async def _content(self, answer: aiohttp.ClientResponse) -> bytes:
        """All of an answer, if it has an end."""
        content = bytearray()
        async for chunk in answer.content.iter_chunked(1 << 16):
            content += chunk
            if len(content) > MOST_BYTES:
                raise BatchError(f"{answer.url}: expected at most {MOST_BYTES} bytes, got more. Is it a ComfyUI?")
        return bytes(content)

    async def _answer(self, kind: type[Kind], method: str, path: str, **request: Any) -> Kind:
        """An answer of a type of `answers`."""
        return self._of_type(kind, await self._json(method, path, **request), path)

    def _of_type(self, kind: type[Kind], value: Any, path: str) -> Kind:
        try:
            return TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            wrong = error.errors()[0]
            place = ".".join(map(str, wrong["loc"])) or "it"
            raise BatchError(
                f"{self.address}{path}: expected an answer of ComfyUI, got one in which {place[:120]} is wrong: "
                f"{wrong['msg']}, got {wrong['input']!r:.80}. Is it a ComfyUI, of a version from 0.3.64 on?"
            ) from error

    async def _json(self, method: str, path: str, refused: tuple[int, ...] = (), **content) -> dict:
        async with self._request(method, path, **content) as answer:
            if answer.status not in refused:
                await self._expect_ok(answer)
            text = (await self._content(answer)).decode(errors="replace")
        try:
            value = decoded(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BatchError(
                f"{self.address}{path}: expected an answer of ComfyUI, got {text[:80]!r}. Is it a ComfyUI?"
            )
        return value


async def _refuse(_session: aiohttp.ClientSession, _context: Any, redirect: aiohttp.TraceRequestRedirectParams) -> None:
    """A workflow goes to nobody but the server that is named. For all requests, the websocket's too."""
    raise aiohttp.ClientConnectionError(f"sent on to {redirect.response.headers.get('Location')!r:.200}")


@contextlib.asynccontextmanager
async def connect(address: str, client_id: str) -> AsyncIterator[Host]:
    """A client of the ComfyUI at ``host:port``, or at a URL; ``client_id`` is the name that it gives to a front end."""
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_refuse)
    async with aiohttp.ClientSession(timeout=TIMEOUT, trace_configs=[tracing]) as session:
        host = Host(session, address, client_id)
        await host.check()
        listening = asyncio.create_task(host.listen())
        try:
            yield host
        finally:
            listening.cancel()


async def object_infos(host: Host, graph: Graph) -> dict[str, dict]:
    """{class: what ComfyUI says of it} for the classes of a graph. Raises BatchError where it has no such class."""
    schemas = {}
    for node_id, node in graph.items():
        kind = node["class_type"]
        found = schemas.get(kind) or await host.object_info(kind)
        if found is None:
            raise BatchError(
                f"node {node_id}: expected a class of nodes that the ComfyUI at {host.address} has, got {kind!r}. "
                "Install the node pack that it belongs to and restart ComfyUI. Its log says which packs failed."
            )
        schemas[kind] = found
    return schemas


def failure(entry: Entry) -> str:
    """What an entry of the history says went wrong, and what to do."""
    with contextlib.suppress(ValueError):  # it may say it in no form that is known
        if entry.status is not None:
            if said := entry.status.message("execution_error"):
                message = said.exception_message.strip().removesuffix(".")
                return f"an error. {said.node_type} (node {said.node_id}): {message}. {FIX}"
            if said := entry.status.message("execution_interrupted"):
                return f"it stopped by hand at {said.node_type} (node {said.node_id}). {AGAIN}"
    return f"an error, and it does not say why. {FIX}"
