"""Writes the files: see the package."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import tempfile
import uuid
from pathlib import Path

from PIL import Image

from lgs.batch.errors import BatchError
from lgs.batch.host import Host, connect, failure

from .declared import EXAMPLES, complete
from .editor_format import to_editor
from .server import PackServer
from .thumbnails import thumbnails

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "host-shim" / "comfyui"
PACK = ROOT / "dist" / "comfyui-lgs"


async def run(host: Host, graph: dict) -> dict[str, list[Image.Image]]:
    """Runs a graph; gives the pictures of each node."""
    prompt = str(uuid.uuid4())
    await host.submit(prompt, graph)
    entry = await host.finished(prompt)
    if not entry.succeeded:
        raise BatchError(f"expected ComfyUI to run the workflow, got {failure(entry)}")
    return {
        node: [Image.open(io.BytesIO(await host.picture(file))) for file in output.images]
        for node, output in entry.outputs.items()
        if output.images
    }


async def write(server: PackServer) -> None:
    folder = SOURCE / "example_workflows"
    async with connect(server.address, uuid.uuid4().hex) as host:
        classes = {node["class_type"] for declared, _ in EXAMPLES.values() for node in declared().values()}
        infos = {name: await host.object_info(name) for name in classes}
        for name, (declared, note) in EXAMPLES.items():
            graph = complete(infos, declared())
            for file, content in (
                (folder / f"{name}.json", to_editor(infos, graph, name, note)),
                (folder / "api" / f"{name}.json", graph),
            ):
                file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        made = await thumbnails(server, lambda graph: run(host, graph), lambda graph: complete(infos, graph), PACK)
    for name, picture in made.items():
        picture.save(folder / f"{name}.jpg", quality=90)
    made["lgs_txt2img"].convert("L").save(SOURCE / "web" / "icon.png")


def main() -> None:
    checkout, python = Path(os.environ["COMFYUI_PATH"]), os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        # Without a cache the history of 0.3.64 has not what nodes show whose outputs others take.
        server = PackServer(checkout, python, [PACK], Path(folder), "--cache-classic")
        server.start()
        try:
            asyncio.run(write(server))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
