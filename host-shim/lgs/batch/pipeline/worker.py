"""A pipeline that makes pictures, here or as an actor of `lgs.batch.cluster`."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import socket
import time
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import BatchError
from ..plan import Graph, Job
from ..run import Made

METADATA = "lgs_pipeline"
"""Text of a PNG: the description that it was made by."""
OURS = ("self", "generator", "return_dict", "output_type")
"""Arguments of a call that are not the user's to give."""


class Pipeline:
    """Runs jobs on one pipeline, one after another in the order in which they come; `start` goes first.

    The methods are those of `lgs.batch.cluster.comfyui.ComfyUI`.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.name = f"pipeline on node {socket.gethostname()}"
        self._loaded: dict | None = None
        self._pipeline: Any = None
        self._scheduler_config: Any = None
        self._running = asyncio.Lock()

    async def start(self) -> str:
        """Loads the pipeline; gives its name, for messages. Raises BatchError."""
        await asyncio.to_thread(self._load, self.graph["pipeline"]["inputs"])
        return self.name

    async def object_infos(self, graph: Graph) -> dict[str, dict]:
        """What inputs the parts have, in the form of ComfyUI's /object_info."""
        from ...options import Options

        parameters = [name for name in inspect.signature(self._pipeline.__call__).parameters if name not in OURS]
        names = {"pipeline": self._loaded, "call": [*parameters, "seed"], "options": Options().as_dict()}
        return {part: {"input": {"optional": dict.fromkeys(of)}} for part, of in names.items()}

    async def make(self, prompt_id: str, job: Job) -> Made:
        """Raises BatchError where the pipeline refuses the job or fails."""
        async with self._running:
            return await asyncio.to_thread(self._made, job)

    async def leave(self) -> None:
        pass

    def _made(self, job: Job) -> Made:
        inputs = {part: job.graph[part]["inputs"] for part in job.graph}
        self._load(inputs["pipeline"])
        start = time.perf_counter()
        try:
            pictures = self._pictures(dict(inputs["call"]), inputs["options"])
        except Exception as error:  # of all kinds: torch's, diffusers', those of the pipeline's own code
            raise BatchError(
                f"job {job.number} ({job}): expected the pipeline to run it, got {type(error).__name__}: {error}"
            ) from error
        seconds = round(time.perf_counter() - start, 3)
        text = PngInfo()
        text.add_itxt(METADATA, json.dumps(inputs))
        return Made([(_png(picture, text), ".png", picture.size) for picture in pictures], seconds)

    def _pictures(self, call: dict, options: dict) -> list[Image.Image]:
        import torch

        from ...diffusers import LGSScheduler

        # On the processor: the same noise on every device.
        generator = torch.Generator().manual_seed(call.pop("seed"))
        self._pipeline.scheduler = LGSScheduler.from_config(self._scheduler_config, options=options)
        return self._pipeline(**call, generator=generator, output_type="pil").images

    def _load(self, source: dict) -> None:
        """Raises BatchError."""
        if source == self._loaded:
            return
        try:
            import torch
            from diffusers import DiffusionPipeline

            from ...diffusers import LGSScheduler  # noqa: F401
        except ImportError as error:
            raise BatchError(
                f"on node {socket.gethostname()}: expected torch and diffusers, got {error}. Install them there: pip "
                "install diffusers transformers"
            ) from error
        device = source["device"]
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._pipeline = self._loaded = None  # the memory of the old one is for the new one
        try:
            pipeline = DiffusionPipeline.from_pretrained(
                source["folder"], torch_dtype=getattr(torch, source["dtype"]), local_files_only=True
            )
            self._pipeline = pipeline.to(device)
        except Exception as error:  # of all kinds, as above
            raise BatchError(
                f"on node {socket.gethostname()}: expected a pipeline in {source['folder']}, the same on each node, "
                f"got {type(error).__name__}: {error}"
            ) from error
        self._pipeline.set_progress_bar_config(disable=True)
        self._scheduler_config = self._pipeline.scheduler.config
        self._loaded = source


def _png(picture: Image.Image, text: PngInfo) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=text)
    return out.getvalue()
