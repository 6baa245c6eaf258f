"""The real dispatcher with as many workers as one likes, in time that only counts."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Coroutine
from typing import TypeVar

from lgs.batch.dispatch.dispatcher import Dispatcher
from lgs.batch.plan import Job
from lgs.batch.run import Made

Result = TypeVar("Result")

NOTHING = Made([], None)


class _Selector(selectors.DefaultSelector):
    """Does not wait, but says that it has."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list:
        self.now += timeout or 0.0
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def run(work: Coroutine[None, None, Result]) -> Result:
    """`asyncio.run` in which sleeping takes no time, and all that does not sleep neither."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def simulate(workers: int, services: list[list[float]], jobs: int, load: float, driver: float) -> dict[str, float]:
    """A batch of jobs: worker i takes ``services[i % len(services)]`` for them in turn, and ``load`` before the first;
    the driver takes ``driver`` for each, one at a time. All in seconds.

    Gives how long the batch takes, and as parts of what the workers have together: ``busy``, ``load``, ``tail`` (after
    a worker's last job), and ``driver``, which is what is left, waiting for the next job.
    """
    working, ends = 0.0, [load] * workers

    class Worker:
        def __init__(self, place: int):
            self.name, self.place = f"worker {place}", place
            self.seconds = itertools.cycle(services[place % len(services)])
            self.order = asyncio.Lock()

        async def make(self, job: Job) -> Made:
            nonlocal working
            async with self.order:
                seconds = next(self.seconds)
                await asyncio.sleep(seconds)
                working += seconds
                ends[self.place] = asyncio.get_running_loop().time()
            return NOTHING

        async def stop(self) -> None:
            pass

    async def batch() -> float:
        turn = asyncio.Lock()

        async def start(place: int) -> Worker:
            await asyncio.sleep(load)
            return Worker(place)

        async def keep(job: Job, made: Made) -> None:
            async with turn:
                await asyncio.sleep(driver)

        await Dispatcher([Job(number, {}, {}) for number in range(jobs)], workers, keep).run(start)
        return asyncio.get_running_loop().time()

    seconds = run(batch())
    whole = workers * seconds
    parts = {"busy": working / whole, "load": load / seconds, "tail": sum(seconds - end for end in ends) / whole}
    return {"seconds": seconds} | parts | {"driver": 1 - sum(parts.values())}
