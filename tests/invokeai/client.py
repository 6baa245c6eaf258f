"""What InvokeAI's page does: installs models, queues a graph, follows it over the socket, cancels it."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import socketio
from PIL import Image

QUEUE = "default"


class Rejected(Exception):
    """The server found the graph invalid; ``errors`` is {input name: message}."""

    def __init__(self, answer: dict):
        super().__init__(json.dumps(answer)[:2000])
        self.errors = {str(error["loc"][-1]): error["msg"] for error in answer["detail"]}


@dataclasses.dataclass
class Run:
    """What the server said about one graph, and in the end its item of the queue."""

    item_id: int
    status: str = "pending"
    """``"completed"``, ``"failed"`` or ``"canceled"`` in the end."""
    error: str = ""
    """What the page shows of it."""
    progress: list[dict] = dataclasses.field(default_factory=list)
    """The progress events, of the node ``invocation_source_id``: ``percentage``, from 0 to 1, and ``image``."""
    outputs: dict[str, dict] = dataclasses.field(default_factory=dict)
    """By node, its output."""

    def of(self, node: str) -> list[float]:
        """How far the progress of a node was said to be."""
        return [event["percentage"] for event in self.progress if event["invocation_source_id"] == node]

    def previews(self, node: str) -> list[Image.Image]:
        events = [event for event in self.progress if event["invocation_source_id"] == node]
        return [picture(event["image"]["dataURL"]) for event in events if event["image"]]


def picture(url: str) -> Image.Image:
    """That of a ``data:`` URL."""
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


class Client:
    """A page of one server."""

    def __init__(self, address: str):
        self.address = address

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            return answer.read()

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def send(self, method: str, path: str, content: Any = None, **query: str) -> Any:
        request = urllib.request.Request(
            f"http://{self.address}{path}?{urllib.parse.urlencode(query)}",
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code == 422:
                raise Rejected(json.loads(error.read())) from None
            raise

    def install(self, folder: Path, **about: str) -> dict:
        """Installs a model where it lies; gives what a graph calls it. ``about`` is what the user says of it."""
        job = self.send("POST", "/api/v2/models/install", about, source=str(folder), inplace="true")
        deadline = time.monotonic() + 60
        while (job := self.get_json(f"/api/v2/models/install/{job['id']}"))["status"] != "completed":
            assert job["status"] != "error" and time.monotonic() < deadline, job
            time.sleep(0.1)
        return {name: job["config_out"][name] for name in ("key", "hash", "name", "base", "type")}

    def upload(self, image: Image.Image) -> dict:
        """Gives what a graph calls the picture."""
        file, border = io.BytesIO(), "picture"
        image.save(file, "PNG")
        head = f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
        body = f"{head}Content-Type: image/png\r\n\r\n".encode() + file.getvalue() + f"\r\n--{border}--\r\n".encode()
        request = urllib.request.Request(
            f"http://{self.address}/api/v1/images/upload?image_category=user&is_intermediate=false",
            data=body,
            headers={"Content-Type": f"multipart/form-data; boundary={border}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return {"image_name": json.loads(answer.read())["image_name"]}

    def run(self, graph: dict, on_progress: Callable[[Run], None] | None = None, timeout: float = 120) -> Run:
        """Queues a graph and follows it to its end. ``on_progress(run)`` is called after each event of progress."""
        return asyncio.run(asyncio.wait_for(self._run(graph, on_progress), timeout))

    async def _run(self, graph: dict, on_progress: Callable[[Run], None] | None) -> Run:
        async with socketio.AsyncSimpleClient() as socket:
            await socket.connect(f"http://{self.address}", transports=["websocket"], socketio_path="/ws/socket.io")
            await socket.emit("subscribe_queue", {"queue_id": QUEUE})
            await asyncio.sleep(0.2)  # it does not say when it has subscribed
            answer = self.send("POST", f"/api/v1/queue/{QUEUE}/enqueue_batch", {"batch": {"graph": graph}})
            run = Run(answer["item_ids"][0])
            while run.status not in ("completed", "failed", "canceled"):
                kind, event = await socket.receive()
                if event.get("item_id") != run.item_id:
                    continue
                if kind == "queue_item_status_changed":
                    run.status = event["status"]
                elif kind == "invocation_progress":
                    run.progress.append(event)
                    if on_progress is not None:
                        on_progress(run)
        item = self.get_json(f"/api/v1/queue/{QUEUE}/i/{run.item_id}")
        run.error = item.get("error_message") or ""
        session = item["session"]
        made = session["source_prepared_mapping"]
        run.outputs = {
            node: session["results"][prepared] for node, [prepared] in made.items() if prepared in session["results"]
        }
        return run

    def cancel(self, run: Run) -> None:
        self.send("PUT", f"/api/v1/queue/{QUEUE}/i/{run.item_id}/cancel")
