"""A ComfyUI client: posts a graph, follows it over the websocket, fetches what it made."""

from __future__ import annotations

import dataclasses
import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from websockets.sync.client import connect

PREVIEW_IMAGE = 1
"""ComfyUI's code of a websocket message that is a preview; the picture follows 8 bytes of header."""


class Rejected(Exception):
    """The server found the graph invalid; ``errors`` is {input name: [message, ...]}, node by node."""

    def __init__(self, answer: dict):
        super().__init__(json.dumps(answer)[:2000])
        self.errors = {
            error["extra_info"].get("input_name"): f"{error['message']}: {error['details']}"
            for node in answer.get("node_errors", {}).values()
            for error in node["errors"]
        }


@dataclasses.dataclass
class Run:
    """What the websocket said about one graph, from first to last message."""

    prompt_id: str
    outcome: str = ""
    """``"execution_success"``, ``"execution_error"`` or ``"execution_interrupted"``."""
    details: dict = dataclasses.field(default_factory=dict)
    """The message that gave the outcome; its ``exception_message``, ``node_type``."""
    executing: str | None = None
    """The node that is running."""
    progress: list[dict] = dataclasses.field(default_factory=list)
    """The progress messages: ``value`` of ``max``, of node ``node``. A fraction is of the step in hand."""
    previews: list[Image.Image] = dataclasses.field(default_factory=list)
    images: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))
    """(n, 32, 32), grey, 0..255, in the order saved."""
    outputs: dict[str, dict] = dataclasses.field(default_factory=dict)
    """By node, what it showed: ``images``, ``text``."""

    @property
    def steps(self) -> list[dict]:
        """The progress messages at the end of a step."""
        return [message for message in self.progress if message["value"] == int(message["value"])]

    def take(self, message: str | bytes) -> tuple[str, bool]:
        """Notes a message; gives its type, empty if it is not about this run, and whether it is the last."""
        if isinstance(message, bytes):
            if int.from_bytes(message[:4], "big") != PREVIEW_IMAGE:
                return "", False
            self.previews.append(Image.open(io.BytesIO(message[8:])))
            return "preview", False
        event = json.loads(message)
        kind, data = event["type"], event["data"]
        if data.get("prompt_id") != self.prompt_id:
            return "", False
        if kind == "progress":
            self.progress.append(data)
        if kind == "executed":
            self.outputs[data["node"]] = data["output"]
        if kind in ("execution_success", "execution_error", "execution_interrupted"):
            self.outcome, self.details = kind, data
        if kind == "executing":
            self.executing = data["node"]
        # The last message says that no node is executing; only then is the run in the history.
        return kind, kind == "executing" and self.executing is None


class Client:
    """A front end of one server."""

    def __init__(self, address: str):
        self.address = address
        self.id = uuid.uuid4().hex

    def get(self, path: str, **query: str) -> bytes:
        url = f"http://{self.address}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read()

    def get_json(self, path: str) -> dict:
        return json.loads(self.get(path))

    def post(self, path: str, content: dict) -> dict:
        request = urllib.request.Request(
            f"http://{self.address}{path}",
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code == 400:
                raise Rejected(json.loads(error.read())) from None
            raise

    def run(self, graph: dict, on_message: Callable[[Run, str], None] | None = None, timeout: float = 120) -> Run:
        """Posts a graph, follows it to its end and fetches the images it saved.

        ``on_message(run, type)`` is called with what is known so far after each message about it.
        """
        deadline = time.monotonic() + timeout
        with connect(f"ws://{self.address}/ws?clientId={self.id}", max_size=None) as socket:
            answer = self.post("/prompt", {"prompt": graph, "client_id": self.id})
            if answer.get("node_errors"):  # the server would run what is left of the graph
                self.interrupt()
                raise Rejected(answer)
            run = Run(answer["prompt_id"])
            finished = False
            while not finished:
                message = socket.recv(timeout=max(0.0, deadline - time.monotonic()))
                kind, finished = run.take(message)
                if kind and on_message is not None:
                    on_message(run, kind)
        if run.outcome == "execution_success":
            run.images = self._images(run.prompt_id)
        return run

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def picture(self, file: dict) -> Image.Image:
        """One of a node's ``images``."""
        return Image.open(
            io.BytesIO(self.get("/view", **{name: file[name] for name in ("filename", "subfolder", "type")}))
        )

    def _images(self, prompt_id: str) -> Tensor:
        outputs = self.get_json(f"/history/{prompt_id}")[prompt_id]["outputs"].values()
        files = [file for output in outputs for file in output.get("images", []) if file["type"] == "output"]
        pictures = [self.picture(file) for file in files]
        return torch.stack([pixels(picture) for picture in pictures]) if pictures else torch.empty(0)


def pixels(picture: Image.Image) -> Tensor:
    """Grey levels (height, width), 0..255, of a picture whose colour channels are equal."""
    grey = picture.convert("L")
    return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).reshape(grey.height, grey.width).float()
