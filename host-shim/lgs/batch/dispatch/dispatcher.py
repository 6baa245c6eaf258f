"""Which job goes to which worker, again after a failure, and when to stop.

A worker holds up to `HELD` jobs: the one that it runs, and the next, so that it has something to do while a picture is
fetched and kept. No more are handed out before those are kept, so that pictures do not pile up where they are made
faster than written. When no more jobs wait than there are workers, only free workers get one: behind a busy one it
would wait while another has nothing to do.

A job is kept once, or set aside once. What was given to a worker that is lost is handed out again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from ..errors import BatchError
from ..plan import Job
from ..run import Made

HELD = 2
ATTEMPTS = 3
"""Of a job, on different workers as far as there are; then it is set aside."""
STARTS = 3
"""That fail at one place in a row; then it is given up. A worker that starts and is lost counts against what it ran."""
FAILURES_IN_A_ROW = 10 * ATTEMPTS
"""With no picture in between: then it is the workflow that is wrong, or the cluster."""
MOST_LISTED = 20
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
"""Before a worker is started again; twice as long each time that it has made nothing."""

AGAIN = "Run the same command again to go on: the pictures that are finished are kept."


class WorkerLost(Exception):
    """A worker, or what it runs on, is gone. What it was given can be run elsewhere."""


class ClusterLost(BatchError):
    """No worker can be started any more."""


class Worker(Protocol):
    """One that runs a job at a time, in the order in which they are given to it."""

    name: str

    async def make(self, job: Job) -> Made:
        """Raises BatchError if the job fails, WorkerLost if the worker is gone."""

    async def stop(self) -> None:
        """Ends it; jobs that it still has raise WorkerLost."""


Start = Callable[[int], Awaitable[Worker]]
"""Starts a worker at a place, a number from 0. Raises BatchError or WorkerLost; ClusterLost ends the whole run."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """Of a job, on a worker."""

    place: int
    message: str


@dataclasses.dataclass(frozen=True)
class Failed:
    """A job that has failed: as often as it may, where it is set aside."""

    job: Job
    failures: list[Failure]

    def __str__(self) -> str:
        """In a line, with the last of the failures."""
        begins = f"job {self.job.number} ({self.job}): "
        return begins + self.failures[-1].message.removeprefix(begins)


@dataclasses.dataclass
class _Held:
    """What a worker has."""

    jobs: list[Job] = dataclasses.field(default_factory=list)
    """Not made yet, in the order in which it runs them."""
    made: int = 0
    lost: WorkerLost | None = None
    suspect: Job | None = None
    """What it ran when it was lost."""


class Dispatcher:
    """Hands out jobs until each is kept or set aside.

    ``keep`` writes what a job has come to; ``told`` is called when the numbers below have changed.
    """

    def __init__(
        self,
        jobs: list[Job],
        places: int,
        keep: Callable[[Job, Made], Awaitable[None]],
        told: Callable[[], None] = lambda: None,
    ):
        self.places = places
        self.kept = 0
        self.at_work: set[int] = set()
        """Places whose worker is started and not lost."""
        self.set_aside: list[Failed] = []
        self._waiting = deque(jobs)
        self._left = len(jobs)
        self._keep = keep
        self._told = told
        self._failures: dict[int, Failed] = {}
        self._in_a_row = 0
        self._given_up: list[str] = []
        self._over = asyncio.Event()
        self._changed = asyncio.Event()
        self._error: BatchError | None = None

    async def run(self, start: Start) -> None:
        """Returns when no job is left; `set_aside` has those that were not made.

        Raises BatchError if no place has a worker any more, if one job after another fails, or from ``keep``.
        """
        if not self._left:
            return
        async with asyncio.TaskGroup() as group:
            serving = [group.create_task(self._serve(place, start)) for place in range(self.places)]
            await self._over.wait()
            for task in serving:
                task.cancel()
        if self._error is not None:
            raise self._error

    async def _serve(self, place: int, start: Start) -> None:
        """One place: a worker, and another when it is lost."""
        failed, fruitless = 0, 0
        while failed < STARTS:
            try:
                worker = await start(place)
            except ClusterLost as error:
                return self._stop(error)
            except (BatchError, WorkerLost) as error:
                failed, made, problem = failed + 1, 0, str(error)
            else:
                failed = 0
                made = await self._work(place, worker)
            fruitless = 0 if made else fruitless + 1
            await asyncio.sleep(min(PAUSE_SECONDS * 2**fruitless, LONGEST_PAUSE_SECONDS))
        self._given_up.append(f"worker {place + 1}: {problem}")
        if len(self._given_up) == self.places:
            reasons = "\n".join(self._given_up)
            self._stop(BatchError(f"expected a worker that starts, and none did in {STARTS} tries. {AGAIN}\n{reasons}"))

    async def _work(self, place: int, worker: Worker) -> int:
        """Until the worker is lost; gives how many jobs it has made."""
        held = _Held()
        self.at_work.add(place)
        self._told()
        self._wake()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(HELD):
                    group.create_task(self._lane(place, worker, held))
        finally:
            self.at_work.discard(place)
            self._wake()
            await worker.stop()
        return held.made

    async def _lane(self, place: int, worker: Worker, held: _Held) -> None:
        """One of the jobs that a worker holds, after another."""
        while job := await self._next(place, held):
            held.jobs.append(job)
            try:
                made = await worker.make(job)
            except BatchError as error:
                self._leaves(held, job)
                self._failed(job, Failure(place, f"{error} ({worker.name})"))
            except WorkerLost as lost:
                if held.lost is None:
                    held.lost, held.suspect = lost, held.jobs[0]
                    self.at_work.discard(place)
                    self._told()
                    await worker.stop()
                self._leaves(held, job)
                if job is held.suspect:
                    self._failed(job, Failure(place, f"the worker was lost while it ran: {lost} ({worker.name})"))
                else:
                    self._waiting.appendleft(job)
                self._wake()
            else:
                self._leaves(held, job)
                held.made += 1
                await self._done(job, made)

    async def _next(self, place: int, held: _Held) -> Job | None:
        """Waits for a job for a worker; None once it is lost."""
        while held.lost is None:
            changed = self._changed
            if (job := self._take(place, busy=bool(held.jobs))) is not None:
                return job
            await changed.wait()
        return None

    def _take(self, place: int, busy: bool) -> Job | None:
        if busy and len(self._waiting) <= len(self.at_work):
            return None
        for job in self._waiting:
            failed = self._failures.get(job.number)
            failed_at = {failure.place for failure in failed.failures} if failed else set()
            if place not in failed_at or self.at_work <= failed_at:
                self._waiting.remove(job)
                return job
        return None

    def _leaves(self, held: _Held, job: Job) -> None:
        held.jobs.remove(job)
        if not held.jobs:
            self._wake()

    async def _done(self, job: Job, made: Made) -> None:
        try:
            await self._keep(job, made)
        except BatchError as error:
            self._stop(error)
            return
        self.kept += 1
        self._in_a_row = 0
        self._count_down()

    def _failed(self, job: Job, failure: Failure) -> None:
        failed = self._failures.setdefault(job.number, Failed(job, []))
        failed.failures.append(failure)
        self._in_a_row += 1
        if len(failed.failures) < ATTEMPTS:
            self._waiting.append(job)  # behind all others, in case it is the job that ends workers
            self._wake()
        else:
            self.set_aside.append(failed)
            self._count_down()
        if self._in_a_row >= FAILURES_IN_A_ROW and self._left:
            some = [str(failed) for failed in self._failures.values()]
            more = f"\nand {len(some) - MOST_LISTED} more" if len(some) > MOST_LISTED else ""
            self._stop(
                BatchError(
                    f"expected jobs that can be run, and {FAILURES_IN_A_ROW} runs failed with no picture in between. "
                    f"What is finished is kept. Those that failed:\n" + "\n".join(some[:MOST_LISTED]) + more
                )
            )

    def _count_down(self) -> None:
        self._left -= 1
        self._told()
        if not self._left:
            self._over.set()

    def _stop(self, error: BatchError) -> None:
        self._error = self._error or error
        self._over.set()

    def _wake(self) -> None:
        """Lets all who wait for a job look again."""
        self._changed.set()
        self._changed = asyncio.Event()
