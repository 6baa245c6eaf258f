"""A running ComfyUI: its queue, its history, and the pictures that it made."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import aiohttp

from .errors import BatchError
from .plan import Graph

POLL_SECONDS = 1.0
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=300)
"""A server that loads a model may leave requests waiting for minutes."""

AGAIN = "Run the same command again: the pictures that are finished are kept."
FIX = "Fix the workflow or leave this setting out, and run the command again: the pictures that are finished are kept."

Progress = Callable[[int, int], None]
"""Called with the step that the running node has reached, and of how many."""


class Host:
    """A client of one server: see `connect`. Every method raises BatchError if the server is gone."""

    def __init__(self, session: aiohttp.ClientSession, address: str, client_id: str):
        self.session = session
        self.address = address
        self.url = (address if "://" in address else f"http://{address}").rstrip("/")
        self.client_id = client_id
        self.progress: Progress = lambda value, most: None
        self._something_ended = asyncio.Event()

    async def object_info(self, class_type: str) -> dict | None:
        """What ComfyUI says about a class of nodes; None if it has none of this name."""
        return (await self._json("GET", f"/object_info/{class_type}")).get(class_type)

    async def submit(self, prompt_id: str, graph: Graph) -> None:
        """Queues a graph under an id, unless it is queued or has succeeded under it. Raises BatchError if refused."""
        if await self._queued(prompt_id):  # first: in between it may go from the queue to the history
            return
        entry = await self._entry(prompt_id)
        if entry and succeeded(entry):
            return
        content = {"prompt": graph, "prompt_id": prompt_id, "client_id": self.client_id}
        answer = await self._json("POST", "/prompt", refused=(400,), json=content)
        if answer.get("node_errors") and "error" not in answer:
            await self.cancel([prompt_id])  # it has queued those of the outputs that it found nothing wrong with
        if answer.get("node_errors") or "error" in answer:
            raise BatchError(f"expected a workflow that ComfyUI takes, got a refusal. {refusal(answer)}. {FIX}")
        if answer.get("prompt_id") != prompt_id:
            raise BatchError(
                f"{self.address}: expected a ComfyUI that takes the id of a prompt from its client, as 0.3.64 and "
                f"later do, got one that named it {answer.get('prompt_id')!r}. Update ComfyUI."
            )

    async def finished(self, prompt_id: str) -> dict:
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

    async def picture(self, file: dict) -> bytes:
        """The bytes of a file that an entry of the history names."""
        query = {name: file.get(name, "") for name in ("filename", "subfolder", "type")}
        async with self._request("GET", "/view", params=query) as answer:
            if answer.status == 404:
                raise BatchError(
                    f"{self.address}: expected the picture {file['filename']}, which it says it has made, and it is "
                    "not there: it was deleted or moved from ComfyUI's output folder. Restart ComfyUI, so that it "
                    "forgets it, and run the same command again: the pictures that are finished are kept."
                )
            await self._expect_ok(answer)
            return await answer.read()

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
                    event = json.loads(message.data)
                    kind, data = event["type"], event["data"]
                    if kind == "progress":
                        self.progress(data["value"], data["max"])
                    if kind == "status" or (kind == "executing" and data["node"] is None):
                        self._something_ended.set()
        except aiohttp.ClientError:
            return

    async def _entry(self, prompt_id: str) -> dict | None:
        return (await self._json("GET", f"/history/{prompt_id}")).get(prompt_id)

    async def _queued(self, prompt_id: str) -> bool:
        queue = await self._json("GET", "/queue")
        return any(item[1] == prompt_id for item in queue["queue_running"] + queue["queue_pending"])

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, **content) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self.session.request(method, f"{self.url}{path}", **content) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BatchError(
                f"{self.address}: expected a running ComfyUI, got {str(error) or type(error).__name__}. Start it, or "
                f"give another --server, or let this command start one with --comfyui. {AGAIN}"
            ) from error

    async def _expect_ok(self, answer: aiohttp.ClientResponse) -> None:
        if not answer.ok:
            raise BatchError(
                f"{answer.url}: expected an answer of ComfyUI, got status {answer.status} {answer.reason}: "
                f"{(await answer.text(errors='replace'))[:300].strip() or 'nothing more'}. If something between here "
                "and ComfyUI asks for a password, give the --server behind it."
            )

    async def _json(self, method: str, path: str, refused: tuple[int, ...] = (), **content) -> dict:
        async with self._request(method, path, **content) as answer:
            if answer.status not in refused:
                await self._expect_ok(answer)
            text = await answer.text(errors="replace")
        try:
            decoded = json.loads(text)
        except ValueError:
            decoded = None
        if not isinstance(decoded, dict):
            raise BatchError(
                f"{self.address}{path}: expected an answer of ComfyUI, got {text[:80]!r}. Is it a ComfyUI?"
            )
        return decoded


@contextlib.asynccontextmanager
async def connect(address: str, client_id: str) -> AsyncIterator[Host]:
    """A client of the ComfyUI at ``host:port``, or at a URL; ``client_id`` is the name that it gives to a front end."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        host = Host(session, address, client_id)
        stats = await host._json("GET", "/system_stats")
        if "system" not in stats:
            raise BatchError(
                f"{address}: expected a ComfyUI, got another server: its /system_stats says {stats!r:.80}."
            )
        listening = asyncio.create_task(host.listen())
        try:
            yield host
        finally:
            listening.cancel()


def succeeded(entry: dict) -> bool:
    """Whether an entry of the history is of a graph that ran to its end."""
    return (entry.get("status") or {}).get("status_str") == "success"


def seconds(entry: dict) -> float | None:
    """How long an entry of the history took."""
    times = {kind: data.get("timestamp") for kind, data in entry["status"]["messages"]}
    started, ended = times.get("execution_start"), times.get("execution_success")
    return round((ended - started) / 1000, 3) if started and ended else None


def failure(entry: dict) -> str:
    """What an entry of the history says went wrong, and what to do."""
    for kind, data in (entry.get("status") or {}).get("messages", []):
        if kind == "execution_error":
            message = data["exception_message"].strip().removesuffix(".")
            return f"an error. {data['node_type']} (node {data['node_id']}): {message}. {FIX}"
        if kind == "execution_interrupted":
            return f"it stopped by hand at {data['node_type']} (node {data['node_id']}). {AGAIN}"
    return f"an error, and it does not say why. {FIX}"


def refusal(answer: dict) -> str:
    """What ComfyUI says about a graph that it does not take."""
    nodes = answer.get("node_errors") or {}
    details = [
        f"{node['class_type']} (node {node_id}): {error['message']}: {error['details']}"
        for node_id, node in nodes.items()
        for error in node["errors"]
    ]
    error = answer.get("error", {})
    general = error if isinstance(error, str) else f"{error.get('message')}: {error.get('details')}".rstrip(": ")
    return "; ".join(details) or general
