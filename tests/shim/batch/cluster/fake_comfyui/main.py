"""A process that answers as ComfyUI does, for batches that are killed many times: it takes ``--seconds`` for a picture,
whose colours follow from the graph.

Inputs of its one node, Noise: ``seed``; ``error``: the run fails; ``kill``: so does the process. To the file ``--made``
it adds a line for each picture: the prompt's id, and CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import time
from pathlib import Path

from aiohttp import web
from PIL import Image
from PIL.PngImagePlugin import PngInfo

INPUTS = {"required": {"seed": ["INT"]}, "optional": {"error": ["BOOLEAN"], "kill": ["BOOLEAN"]}}


class FakeComfyUI:
    def __init__(self, output: Path, seconds: float, log: Path | None):
        self.output = output
        self.log = log
        self.seconds = seconds
        self.pending: list[tuple[str, dict]] = []
        self.running: list[tuple[str, dict]] = []
        self.history: dict[str, dict] = {}
        self.sockets: set[web.WebSocketResponse] = set()
        self.posted = asyncio.Event()

    async def run(self) -> None:
        while True:
            while not self.pending:
                await self.posted.wait()
                self.posted.clear()
            self.running = [self.pending.pop(0)]
            await asyncio.sleep(self.seconds)
            [(prompt_id, graph)], self.running = self.running, []
            self.history[prompt_id] = self.made(prompt_id, graph)
            for socket in list(self.sockets):
                await socket.send_json({"type": "executing", "data": {"node": None, "prompt_id": prompt_id}})

    def made(self, prompt_id: str, graph: dict) -> dict:
        inputs = graph["1"]["inputs"]
        if inputs.get("kill"):
            os._exit(3)
        now = time.time() * 1000
        entry = {"prompt": [0, prompt_id, graph, {}, ["1"]], "outputs": {}}
        if inputs.get("error"):
            said = {"node_type": "Noise", "node_id": "1", "exception_message": "expected a seed that can be drawn"}
            return entry | {"status": {"status_str": "error", "messages": [["execution_error", said]]}}
        # By counting the files that are there, as ComfyUI does.
        name = f"noise_{len(list(self.output.glob('*.png'))) + 1:05}_.png"
        info = PngInfo()
        info.add_text("prompt", json.dumps(graph))
        colours = hashlib.shake_256(json.dumps(graph).encode()).digest(3 * 64 * 64)
        Image.frombytes("RGB", (64, 64), colours).save(self.output / name, pnginfo=info)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{prompt_id} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
        times = [
            ["execution_start", {"timestamp": now - 1000 * self.seconds}],
            ["execution_success", {"timestamp": now}],
        ]
        entry["outputs"] = {"1": {"images": [{"filename": name, "subfolder": "", "type": "output"}]}}
        return entry | {"status": {"status_str": "success", "messages": times}}

    async def post(self, request: web.Request) -> web.Response:
        content = await request.json()
        self.pending.append((content["prompt_id"], content["prompt"]))
        self.posted.set()
        return web.json_response({"prompt_id": content["prompt_id"], "number": 1, "node_errors": {}})

    async def queue(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            taken = (await request.json())["delete"]
            self.pending = [one for one in self.pending if one[0] not in taken]
        lists = {"queue_running": self.running, "queue_pending": self.pending}
        return web.json_response({name: [[0, *one, {}, []] for one in of] for name, of in lists.items()})

    async def entry(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        return web.json_response({prompt_id: self.history[prompt_id]} if prompt_id in self.history else {})

    async def view(self, request: web.Request) -> web.Response:
        return web.Response(body=(self.output / request.query["filename"]).read_bytes())

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        async for _ in socket:
            pass
        self.sockets.discard(socket)
        return socket

    def routes(self) -> list[web.RouteDef]:
        def constant(content: object):
            async def handler(request: web.Request) -> web.Response:
                return web.json_response(content)

            return handler

        return [
            web.get("/system_stats", constant({"system": {}})),
            web.get("/object_info/Noise", constant({"Noise": {"input": INPUTS}})),
            web.get("/object_info/{other}", constant({})),
            web.post("/prompt", self.post),
            web.route("*", "/queue", self.queue),
            web.post("/interrupt", constant({})),
            web.get("/history/{id}", self.entry),
            web.get("/view", self.view),
            web.get("/ws", self.listen),
        ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--output-directory", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--made", type=Path)
    args, _ = parser.parse_known_args()
    args.output_directory.mkdir(exist_ok=True)

    async def application() -> web.Application:
        fake, app = FakeComfyUI(args.output_directory, args.seconds, args.made), web.Application()
        app["running"] = asyncio.create_task(fake.run())
        app.add_routes(fake.routes())
        return app

    web.run_app(application(), host="127.0.0.1", port=args.port, print=None)


if __name__ == "__main__":
    main()
