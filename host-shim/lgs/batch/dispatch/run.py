"""Jobs through the dispatcher into the store, under a progress bar."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tqdm import tqdm

from ..plan import Job
from ..run import Made
from ..store import Store
from .dispatcher import Dispatcher, Failed, Start


async def dispatch(start: Start, places: int, made: list[Job], store: Store) -> list[Failed]:
    """Runs what is not done yet, under a progress bar; gives what was set aside. Raises BatchError."""
    remaining = [job for job in made if store.done(job) is None]
    with tqdm(total=len(made), initial=len(made) - len(remaining), unit="job") as bar:

        def told() -> None:
            aside = f", {len(dispatcher.set_aside)} set aside" if dispatcher.set_aside else ""
            bar.set_postfix_str(f"{len(dispatcher.at_work)} of {places} workers{aside}", refresh=False)
            bar.update(len(made) - len(remaining) + dispatcher.kept - bar.n)

        dispatcher = Dispatcher(remaining, places, _keeping(store), told)
        await dispatcher.run(start)
    return dispatcher.set_aside


def _keeping(store: Store) -> Callable[[Job, Made], Awaitable[None]]:
    async def keep(job: Job, made: Made) -> None:
        # In a thread: while the disk flushes one picture, others are handed out and come in.
        await asyncio.to_thread(store.keep, job, made.pictures, made.seconds, made.version)

    return keep
