"""An actor in the place of `lgs.batch.cluster.comfyui.ComfyUI`, which needs no memory: it imports no torch."""

from __future__ import annotations

import asyncio
import os

from lgs.batch.plan import Job
from lgs.batch.run import Made


class Sleeping:
    """Takes the time of a picture, ``seconds`` in turn by the job's number, and gives ``size`` bytes."""

    def __init__(self, seconds: list[float], size: int):
        self.seconds = seconds
        self.content = os.urandom(size)
        self.order = asyncio.Lock()

    async def start(self) -> str:
        return f"process {os.getpid()}"

    async def make(self, prompt_id: str, job: Job) -> Made:
        async with self.order:
            await asyncio.sleep(self.seconds[job.number % len(self.seconds)])
        own = job.number.to_bytes(8) + self.content[8:]
        return Made([(own, ".png", (512, 512))], None)

    async def leave(self) -> None:
        pass
