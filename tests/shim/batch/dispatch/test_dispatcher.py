"""Every job is kept once or set aside once, whatever fails and when; and it waits no longer than it has to."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest

from lgs.batch.dispatch import dispatcher as module
from lgs.batch.dispatch.dispatcher import ATTEMPTS, HELD, ClusterLost, Dispatcher, WorkerLost
from lgs.batch.errors import BatchError
from lgs.batch.plan import Job
from lgs.batch.run import Made


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)


def plan(count: int) -> list[Job]:
    return [Job(number, {"seed": number}, {}) for number in range(1, count + 1)]


def made(job: Job) -> Made:
    return Made([(str(job.number).encode(), ".png", (1, 1))], None)


class Simulated:
    """A worker without a process: runs jobs in their order, each in so many turns of the event loop."""

    def __init__(self, place: int, turns: Callable[[Job], int], fault: Callable[[int, Job], Exception | None]):
        self.name = f"worker {place}"
        self.place = place
        self.turns, self.fault = turns, fault
        self.order = asyncio.Lock()
        self.gone: WorkerLost | None = None
        self.holds = self.most = 0
        self.ran: list[Job] = []

    async def make(self, job: Job) -> Made:
        self.holds += 1
        self.most = max(self.most, self.holds)
        try:
            async with self.order:
                for _ in range(self.turns(job)):
                    await asyncio.sleep(0)
                    self.require()
                self.require()
                self.ran.append(job)
                fault = self.fault(self.place, job)
                if isinstance(fault, WorkerLost):
                    self.gone = fault
                if fault is not None:
                    raise fault
                return made(job)
        finally:
            self.holds -= 1

    async def stop(self) -> None:
        self.gone = self.gone or WorkerLost("stopped")

    def require(self) -> None:
        if self.gone:
            raise self.gone


class Run:
    """A run with simulated workers, all of which it remembers."""

    def __init__(self, jobs: list[Job], places: int, turns=lambda job: 1, fault=lambda place, job: None):
        self.kept: list[Job] = []
        self.workers: list[Simulated] = []
        self.turns, self.fault = turns, fault
        self.jobs, self.places = jobs, places
        self.not_kept_yet = self.most_not_kept = 0

    async def start(self, place: int) -> Simulated:
        self.workers.append(Simulated(place, self.turns, self.fault))
        return self.workers[-1]

    async def keep(self, job: Job, made: Made) -> None:
        assert made.pictures[0][0] == str(job.number).encode()
        await asyncio.sleep(0)
        self.kept.append(job)

    def go(self, start=None) -> Dispatcher:
        async def run() -> Dispatcher:
            dispatcher = Dispatcher(self.jobs, self.places, self.keep)
            async with asyncio.timeout(60):
                await dispatcher.run(start or self.start)
            return dispatcher

        return asyncio.run(run())


@pytest.mark.parametrize("seed", range(60))
def test_each_job_is_kept_once_whatever_fails(seed: int):
    chance = random.Random(seed)
    places, jobs = chance.randint(1, 6), plan(chance.randint(1, 60))
    rate = chance.choice([0.0, 0.05, 0.2])
    poisoned = set(chance.sample(range(1, len(jobs) + 1), k=min(len(jobs), chance.randint(0, 3))))
    spared = Counter()

    def fault(place: int, job: Job) -> Exception | None:
        if job.number in poisoned:
            return chance.choice([BatchError("poison"), WorkerLost("poison")])
        if spared[job.number] < ATTEMPTS - 1 and chance.random() < rate:
            spared[job.number] += 1  # or chance would set it aside
            return chance.choice([BatchError("chance"), WorkerLost("chance")])
        return None

    run = Run(jobs, places, turns=lambda job: chance.randint(0, 5), fault=fault)

    async def start(place: int) -> Simulated:
        await asyncio.sleep(0)
        if chance.random() < rate / 4:
            raise chance.choice([BatchError("no start"), WorkerLost("no start")])
        return await run.start(place)

    dispatcher = run.go(start)

    assert sorted(job.number for job in run.kept) == sorted({job.number for job in jobs} - poisoned)
    assert {aside.job.number for aside in dispatcher.set_aside} == poisoned
    assert all(len(aside.failures) == ATTEMPTS for aside in dispatcher.set_aside)
    assert dispatcher.kept == len(run.kept) and all(worker.most <= HELD for worker in run.workers)
    ran = Counter(job.number for worker in run.workers for job in worker.ran)
    assert all(ran[number] == 1 + spared[number] for number in ran.keys() - poisoned), "nothing is run for nothing"


def test_a_job_that_fails_is_tried_elsewhere():
    run = Run(plan(40), 3, turns=lambda job: 2, fault=lambda place, job: BatchError("no") if job.number == 7 else None)
    [aside] = run.go().set_aside
    assert {failure.place for failure in aside.failures} == {0, 1, 2}
    assert str(aside).startswith("job 7 (seed = 7): no (worker ")
    assert len(run.kept) == 39


def test_one_that_works_at_one_place_alone_finds_it():
    run = Run(plan(9), 3, fault=lambda place, job: BatchError("no") if job.number == 4 and place != 2 else None)
    assert not run.go().set_aside and len(run.kept) == 9


def test_what_waits_behind_a_job_that_ends_its_worker_is_not_blamed():
    run = Run(plan(30), 1, fault=lambda place, job: WorkerLost("no memory") if job.number == 1 else None)
    [aside] = run.go().set_aside
    assert aside.job.number == 1 and len(run.kept) == 29
    assert str(aside) == "job 1 (seed = 1): the worker was lost while it ran: no memory (worker 0)"


def test_faster_workers_get_more():
    run = Run(plan(300), 2)
    run.turns = lambda job: 2

    async def start(place: int) -> Simulated:
        worker = await run.start(place)
        worker.turns = lambda job: 40 if place else 4
        return worker

    run.go(start)
    fast, slow = (len(worker.ran) for worker in run.workers)
    assert fast + slow == 300 and fast > 5 * slow


def test_the_last_jobs_go_to_free_workers():
    """Behind the long one nothing waits once no more jobs wait than there are workers."""
    run = Run(plan(12), 4, turns=lambda job: 400 if job.number == 1 else 4)
    run.go()
    [slow] = [worker for worker in run.workers if any(job.number == 1 for job in worker.ran)]
    assert len(slow.ran) <= HELD, "beside it what was behind it at first, when more waited"


def test_nothing_is_handed_out_while_pictures_wait_to_be_kept():
    run = Run(plan(20), 2)
    opened = asyncio.Event()

    async def keep(job: Job, made: Made) -> None:
        await opened.wait()
        run.kept.append(job)

    run.keep = keep

    async def go() -> None:
        dispatcher = Dispatcher(run.jobs, run.places, run.keep)
        running = asyncio.create_task(dispatcher.run(run.start))
        for _ in range(200):
            await asyncio.sleep(0)
        assert sum(len(worker.ran) for worker in run.workers) == HELD * run.places
        opened.set()
        await running

    asyncio.run(go())
    assert len(run.kept) == 20


def test_a_full_disk_ends_it():
    run = Run(plan(20), 2)

    async def keep(job: Job, made: Made) -> None:
        if len(run.kept) == 3:
            raise BatchError("full")
        run.kept.append(job)

    run.keep = keep
    with pytest.raises(BatchError, match="full"):
        run.go()
    assert len(run.kept) == 3


def test_places_where_no_worker_starts_are_given_up():
    run = Run(plan(20), 3)
    tries = Counter()

    async def start(place: int) -> Simulated:
        tries[place] += 1
        if place:
            raise BatchError(f"no ComfyUI at {place}")
        return await run.start(place)

    run.go(start)
    assert len(run.kept) == 20 and max(tries.values()) <= module.STARTS

    async def never(place: int) -> Simulated:
        raise BatchError(f"no ComfyUI at {place}")

    with pytest.raises(BatchError, match="none did in 3 tries(.|\n)*worker 1: no ComfyUI at 0\n") as caught:
        Run(plan(20), 3).go(never)
    assert "worker 3: no ComfyUI at 2" in str(caught.value)


def test_a_place_that_waits_for_room_holds_nobody_up():
    run = Run(plan(20), 2)

    async def start(place: int) -> Simulated:
        if place:
            await asyncio.Event().wait()
        return await run.start(place)

    run.go(start)
    assert len(run.kept) == 20


def test_a_cluster_that_is_gone_ends_it():
    run = Run(plan(20), 2, fault=lambda place, job: WorkerLost("gone") if job.number > 4 else None)

    async def start(place: int) -> Simulated:
        if len(run.workers) >= 2:
            raise ClusterLost("the raylet has ended")
        return await run.start(place)

    with pytest.raises(BatchError, match="the raylet has ended"):
        run.go(start)
    assert {job.number for job in run.kept} <= {1, 2, 3, 4}


def test_a_workflow_that_always_fails_ends_it():
    run = Run(plan(500), 3, fault=lambda place, job: BatchError("expected a checkpoint"))
    with pytest.raises(BatchError, match="30 runs failed with no picture in between") as caught:
        run.go()
    assert sum(len(worker.ran) for worker in run.workers) <= module.FAILURES_IN_A_ROW + HELD * run.places
    assert "\njob 1 (seed = 1): expected a checkpoint (worker 0)\n" in str(caught.value)
    assert str(caught.value).endswith("\nand 10 more")


def test_as_many_failures_do_not_end_it_where_pictures_come_in_between():
    """A value that is wrong is in every other job of a grid."""
    run = Run(plan(60), 2, fault=lambda place, job: BatchError("no") if job.number % 6 == 1 else None)
    assert len(run.go().set_aside) == 10 and len(run.kept) == 50


def test_no_jobs_need_no_workers():
    run = Run([], 2)
    run.go()
    assert not run.workers
