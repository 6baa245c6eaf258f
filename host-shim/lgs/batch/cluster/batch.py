"""The command: connects, plans, hands out, sums up."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ..dispatch.dispatcher import AGAIN, Failed, Start, WorkerLost
from ..dispatch.run import dispatch
from ..errors import BatchError
from ..pipeline.worker import Pipeline
from ..plan import Graph, Job
from ..store import Store
from .comfyui import Adopted, ComfyUI, Started
from .connection import connected
from .shares import shares
from .workers import RemoteWorker, answer, starter


def run_on_cluster(
    address: str,
    which: list[Adopted] | Started | None,
    workers: int | None,
    graph: Graph,
    plan: Callable[[dict[str, dict]], list[Job]],
    store: Store,
) -> list[Failed]:
    """Runs what is not done yet on a cluster: see `connection.connected`; gives what was set aside. Raises BatchError.

    ``which``: the ComfyUIs that run, a worker for each; or the one to start for each of so many ``workers``; or None
    for a graph that is the description of a pipeline, which each of them loads. ``plan`` gives the jobs, from what a
    worker says of the classes of nodes in the graph: {class: its entry in ComfyUI's /object_info}.
    """
    with connected(address) as nodes:
        if isinstance(which, list):
            # Clients alone, on this machine: from here the user has named the addresses.
            own = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            count, options = len(which), {"num_cpus": 0, "scheduling_strategy": own}
        else:
            share = shares(nodes, workers)
            count, options = share.workers, {"num_cpus": share.cpus, "num_gpus": share.gpus}
        client = uuid.UUID(store.token).hex

        def arguments(place: int) -> tuple:
            if which is None:
                return (graph,)
            return (which[place] if isinstance(which, list) else which, f"{client}-{place}")

        start = starter(ComfyUI if which else Pipeline, arguments, options, store.prompt_id)
        return asyncio.run(_run(start, count, graph, plan, store))


async def _run(
    start: Start, places: int, graph: Graph, plan: Callable[[dict[str, dict]], list[Job]], store: Store
) -> list[Failed]:
    async with _started(start, places) as (first, start):
        try:
            schemas = await answer(first.actor.object_infos.remote(graph))
        except WorkerLost as lost:
            raise BatchError(f"expected a worker that answers, and it was lost: {lost}. {AGAIN}") from lost
        return await dispatch(start, places, plan(schemas), store)


@contextlib.asynccontextmanager
async def _started(start: Start, places: int) -> AsyncIterator[tuple[RemoteWorker, Start]]:
    """Starts a worker at each place at once; gives the first that has started, which can be asked about the nodes of a
    workflow, and a way to start workers that gives these first. Raises BatchError if none starts."""
    starting = {place: asyncio.create_task(start(place)) for place in range(places)}
    unused = dict(starting)

    async def start_or_take(place: int) -> RemoteWorker:
        task = unused.pop(place, None)
        return await (task if task is not None else start(place))

    try:
        errors = []
        for task in asyncio.as_completed(starting.values()):
            try:
                first = await task
                break
            except (BatchError, WorkerLost) as error:
                errors.append(error)
        else:
            raise BatchError(str(errors[0])) from errors[0]
        yield first, start_or_take
    finally:
        for task in unused.values():
            task.cancel()
        for ended in await asyncio.gather(*unused.values(), return_exceptions=True):
            if isinstance(ended, RemoteWorker):
                await ended.stop()
