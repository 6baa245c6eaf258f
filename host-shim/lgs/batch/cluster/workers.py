"""A worker as the driver sees it: an actor, started, asked, ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from ..dispatch.dispatcher import AGAIN, ClusterLost, Start, WorkerLost
from ..errors import BatchError
from ..plan import Job
from ..run import Made

PLACE_SECONDS = 900
"""For Ray to find room for an actor and start it, and for the actor to start its ComfyUI."""
LEAVE_SECONDS = 5

Answer = TypeVar("Answer")


class RemoteWorker:
    """An actor of a class with the methods of `comfyui.ComfyUI`."""

    def __init__(self, actor: Any, prompt_id: Callable[[Job], str]):
        self.actor = actor
        self.name = "a worker"
        self._prompt_id = prompt_id
        self._stopped = False

    async def start(self) -> None:
        """Raises BatchError or WorkerLost, and has ended it then."""
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                self.name = await answer(self.actor.start.remote())
        except TimeoutError:
            await self.stop()
            raise WorkerLost(
                f"expected a node with room for a worker, and one that starts, within {PLACE_SECONDS} s, got none. See "
                "`ray status`: nodes may be gone, or others use them."
            ) from None
        except BaseException:
            await self.stop()
            raise

    async def make(self, job: Job) -> Made:
        return await answer(self.actor.make.remote(self._prompt_id(job), job))

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        with contextlib.suppress(BatchError, WorkerLost, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await answer(self.actor.leave.remote())
        with contextlib.suppress(RayError):
            ray.kill(self.actor)


def starter(
    kind: type, arguments: Callable[[int], tuple], options: dict[str, Any], prompt_id: Callable[[Job], str]
) -> Start:
    """Starts actors of a class, each with ``arguments(place)`` for its constructor; ``options`` are Ray's."""
    actor_class = ray.remote(kind)

    async def start(place: int) -> RemoteWorker:
        require_own_node()
        # Not started again by Ray: what it was given, and how often, is the dispatcher's to know.
        actor = actor_class.options(max_restarts=0, max_task_retries=0, **options).remote(*arguments(place))
        worker = RemoteWorker(actor, prompt_id)
        await worker.start()
        return worker

    return start


def require_own_node() -> None:
    """Raises ClusterLost where Ray's process on this machine, the raylet, has ended: actors would wait for ever."""
    own = ray.get_runtime_context().get_node_id()
    if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == own):
        raise ClusterLost(
            "expected Ray to run on this machine, and its process here, the raylet, has ended: it was killed, or there "
            f"was no memory left. {AGAIN}"
        )


async def answer(asked: Awaitable[Answer]) -> Answer:
    """What an actor's method returns. Raises what it has raised, and WorkerLost where it cannot be asked."""
    try:
        return await asked
    except RayTaskError as error:
        if isinstance(error.cause, BatchError | WorkerLost):
            raise error.cause from None
        raise
    except RayError as error:
        raise WorkerLost(f"Ray says: {_first_sentence(error)}") from None


def _first_sentence(error: RayError) -> str:
    """What is said, without the details of many lines."""
    lines = [line for line in str(error).splitlines() if line and not line.startswith(("\t", " "))]
    return " ".join(lines)[:300] or type(error).__name__
