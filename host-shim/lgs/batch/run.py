"""The jobs, one after another, each until its pictures are in the store; and a job on a ComfyUI, step by step."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
from itertools import zip_longest
from pathlib import PurePath

from PIL import Image
from tqdm import tqdm

from .answers import File, graph_of
from .errors import BatchError
from .host import Host, failure
from .plan import Graph, Job
from .store import Store
from .untrusted import decoded

MOST_FILES = 10_000
"""Of one job."""


@dataclasses.dataclass(frozen=True)
class Made:
    """What a job has come to."""

    pictures: list[tuple[bytes, str, tuple[int, int]]]
    """Of each the bytes, the suffix of its file, and (width, height)."""
    seconds: float | None
    """How long ComfyUI took; None where it does not say."""
    version: str | None = None
    """ComfyUI's, where it says it."""


async def run_jobs(host: Host, store: Store, jobs: list[Job]) -> None:
    """Runs what is not done yet. Raises BatchError at the first job that fails; those before it are kept."""
    remaining = [job for job in jobs if store.done(job) is None]
    with tqdm(total=len(jobs), initial=len(jobs) - len(remaining), unit="job") as bar:
        host.progress = lambda value, most: bar.set_postfix_str(f"step {int(value)} of {int(most)}")
        for job, following in zip_longest(remaining, remaining[1:]):
            try:
                await submit(host, store.prompt_id(job), job)
                if following is not None:
                    # One ahead, so that ComfyUI does not wait while a picture is fetched. What is wrong with it is
                    # said when its turn comes and it is submitted again; this one may still be fetched.
                    with contextlib.suppress(BatchError):
                        await submit(host, store.prompt_id(following), following)
                made = await fetch(host, store.prompt_id(job), job)
                store.keep(job, made.pictures, made.seconds, made.version)
            except (asyncio.CancelledError, BatchError):
                # A killed batch leaves both in the queue, where the next run finds them; this one can do better.
                with contextlib.suppress(BatchError):  # the server may be what failed
                    await host.cancel([store.prompt_id(left) for left in (job, following) if left is not None])
                raise
            bar.update()


async def submit(host: Host, prompt_id: str, job: Job) -> None:
    """Queues a job. Raises BatchError if it is refused."""
    try:
        await host.submit(prompt_id, job.graph)
    except BatchError as error:
        raise BatchError(f"job {job.number} ({job}): {error}") from error


async def fetch(host: Host, prompt_id: str, job: Job) -> Made:
    """Waits for a job that is queued and fetches its pictures. Raises BatchError if it fails."""
    entry = await host.finished(prompt_id)
    if not entry.succeeded:
        raise BatchError(f"job {job.number} ({job}): expected ComfyUI to run it, got {failure(entry)}")
    saved = entry.files()
    files = [file for file in saved if PurePath(file.filename).suffix.lower() in Image.registered_extensions()]
    if len(files) > MOST_FILES:
        raise BatchError(
            f"job {job.number} ({job}): expected at most {MOST_FILES} pictures, got {len(files)}. Let a job make fewer."
        )
    if not files:
        came = ", ".join(file.filename for file in saved) or "none"
        raise BatchError(
            f"expected the workflow to save a picture, got {came}. Add a SaveImage node to the workflow; of a video it "
            "saves the frames."
        )
    try:
        ran, seconds = entry.graph, entry.seconds
    except ValueError as error:
        raise BatchError(
            f"{host.address}/history: expected the graph that ran and its times, got something else ({error}). Is it a "
            "ComfyUI, of a version from 0.3.64 on?"
        ) from error
    pictures = []
    for file in files:
        content = await host.picture(file)
        pictures.append((content, PurePath(file.filename).suffix, _size_of_right_picture(content, file, job, ran)))
    return Made(pictures, seconds, host.version)


def _size_of_right_picture(content: bytes, file: File, job: Job, ran: Graph) -> tuple[int, int]:
    """The (width, height) of a picture, once it is known to be whole and that of this job.

    ComfyUI names its files by counting those in its output folder, and remembers what it has made by these names:
    where files were deleted in between, a name may have become another job's. A PNG says whose it is.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            metadata = getattr(picture, "text", {}).get("prompt")
            size = picture.size
    except Image.DecompressionBombError as error:
        raise BatchError(
            f"job {job.number} ({job}): expected a picture of at most {2 * Image.MAX_IMAGE_PIXELS} pixels as "
            f"{file.filename}, got more ({error}). Save it smaller, or in parts."
        ) from error
    except Exception as error:  # of all kinds, by format; too long texts among them
        raise BatchError(
            f"job {job.number} ({job}): expected a whole picture as {file.filename}, got {len(content)} bytes that "
            f"cannot be read ({error}). Is the disk of the machine that runs ComfyUI full?"
        ) from error
    if (made_by := _graph(metadata)) is not None and not same_graph(made_by, ran):
        raise BatchError(
            f"job {job.number} ({job}): expected its picture as {file.filename}, got that of another run: files "
            "were deleted from ComfyUI's output folder while it ran. Restart ComfyUI and run the same command again: "
            "the pictures that are finished are kept."
        )
    return size


def _graph(metadata: str | None) -> Graph | None:
    """The graph of a picture's metadata; None where another saver than ComfyUI's wrote something else."""
    try:
        return graph_of(decoded(metadata or "null"))
    except ValueError:
        return None


def same_graph(one: Graph, other: Graph) -> bool:
    """Whether two graphs are the same but for what ComfyUI adds to a node when it runs it (``is_changed``)."""
    return {n: (one[n]["class_type"], one[n]["inputs"]) for n in one} == {
        n: (other[n]["class_type"], other[n]["inputs"]) for n in other
    }
