"""In this process, without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..dispatch.dispatcher import Failed
from ..dispatch.run import dispatch
from ..plan import Graph, Job
from ..run import Made
from ..store import Store
from .worker import Pipeline


class Here:
    """A worker for the dispatcher."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        self.name = pipeline.name

    async def make(self, job: Job) -> Made:
        return await self.pipeline.make("", job)

    async def stop(self) -> None:
        pass


def run_here(graph: Graph, plan: Callable[[dict[str, dict]], list[Job]], store: Store) -> list[Failed]:
    """Runs what is not done yet; gives what was set aside. ``plan``: see `cluster.batch.run_on_cluster`. Raises
    BatchError."""

    async def run() -> list[Failed]:
        pipeline = Pipeline(graph)
        await pipeline.start()

        async def start(place: int) -> Here:
            return Here(pipeline)

        return await dispatch(start, 1, plan(await pipeline.object_infos(graph)), store)

    return asyncio.run(run())
