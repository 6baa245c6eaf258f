"""The command line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import importlib.util
import sys
import uuid
from pathlib import Path

from .errors import BatchError
from .host import connect, object_infos
from .overview import write_overview
from .pipeline.description import is_description, read_description
from .plan import Axis, Graph, Job, jobs, read_axis, read_workflow
from .run import run_jobs
from .server import started
from .store import Store, open_store
from .table import TABLE
from .untrusted import decoded, printable

SERVER = "127.0.0.1:8188"

DESCRIPTION = """Run one ComfyUI workflow over many seeds and settings.

  %(prog)s workflow.json --out out/seeds --set noise_seed=1..60
  %(prog)s workflow.json --out out/compared --set covariance=lanczos,isotropic --set noise_seed=1..8
  %(prog)s workflow.json --out out/many --set noise_seed=1..6000 --comfyui ComfyUI --ray

Every combination of the settings is one job; the last setting changes fastest. The second example leaves

  out/compared/pictures/covariance=lanczos_seed=0001.png    named by the settings that differ, and the seed
  out/compared/pictures.csv                                 a row for each, appended when it arrives
  out/compared/contact-sheet.png                            each seed next to itself under each setting

The pictures are as ComfyUI wrote them, with the workflow of each in its metadata. Whatever stops it - Ctrl-C, a crash
here or of ComfyUI, the power - run the same command again: it goes on, and no picture is lost or made twice. With
further values, or a further --set, the folder grows by the pictures that are missing; those that are there keep their
names."""


def main(arguments: list[str], program: str) -> int:
    """Runs the command, called as ``program``; gives its exit status: 0, 1 for a `BatchError`, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "workflow",
        type=Path,
        help="in API format: Workflow > Export (API) in ComfyUI; or a pipeline of diffusers and its call, which runs "
        'without ComfyUI: {"pipeline": {"folder": ...}, "call": {"prompt": ..., "seed": 1}, "options": {"eta": 0}}',
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the pictures go")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="values of one input: 1..60, or a,b,c, or a JSON list. NAME is the input's, or NODE.input with the id or "
        "the class of its node where several nodes have it. Repeat it for a grid",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--server",
        action="append",
        metavar="ADDRESS",
        help=f"a running ComfyUI: host:port or a URL (default: {SERVER}). With --ray repeat it for several",
    )
    where.add_argument(
        "--comfyui",
        type=Path,
        metavar="FOLDER",
        help="start the ComfyUI of this folder, for this batch; what follows -- are further arguments for it",
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter to start it with (default: this one)")
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="spread the jobs over a Ray cluster: host:port, or auto for the one that this machine is part of; without "
        "an address one is started on this machine for this batch. With --comfyui each GPU gets a ComfyUI of its own, "
        "from the same folder on each node; a job that fails is tried on others, and set aside after a few times",
    )
    parser.add_argument(
        "--workers", type=_count, metavar="N", help="with --ray: fewer than the GPUs, or how many where there are none"
    )
    split = arguments.index("--") if "--" in arguments else len(arguments)
    args = parser.parse_args(arguments[:split])
    args.arguments = arguments[split + 1 :]
    if args.arguments and args.comfyui is None:
        parser.error("arguments after -- are for the ComfyUI that --comfyui starts; without it there is none")
    if args.ray is None and (args.workers is not None or len(args.server or ()) > 1):
        parser.error("several workers need --ray")
    if args.workers is not None and args.server:
        parser.error("--workers is for what is started; ComfyUIs of --server have a worker each")
    try:
        graph, is_pipeline = _read(args.workflow)
        if is_pipeline and (args.server or args.comfyui is not None):
            parser.error("a pipeline runs without ComfyUI: leave --server and --comfyui out")
        args.server = args.server or [SERVER]
        plan = Plan(graph, args.set, is_pipeline)
        with open_store(args.out) as store:
            try:
                aside = _run(args, plan, store)
            except (KeyboardInterrupt, BatchError):
                with contextlib.suppress(BatchError):  # what stopped it is what there is to say
                    look_at(store, plan)
                raise
            look_at(store, plan)
        if aside:
            raise BatchError(
                f"expected all jobs to be run, and {len(aside)} failed every time. The others are done; the same "
                "command tries these again.\n" + "\n".join(aside)
            )
    except BatchError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError
    return count


@dataclasses.dataclass
class Plan:
    """A workflow and its settings, and what they come to once a ComfyUI has been asked about its nodes."""

    graph: Graph
    settings: list[str]
    is_pipeline: bool = False
    """Whether the graph is the description of a pipeline: see `pipeline`."""
    axes: list[Axis] = dataclasses.field(default_factory=list)
    jobs: list[Job] = dataclasses.field(default_factory=list)

    def make(self, schemas: dict[str, dict]) -> list[Job]:
        """``schemas`` is for `plan.read_axis`. Raises BatchError."""
        self.axes = [read_axis(self.graph, schemas, text) for text in self.settings]
        self.jobs = jobs(self.graph, self.axes)
        return self.jobs


def _read(path: Path) -> tuple[Graph, bool]:
    """The workflow of a file, or the description of a pipeline, and whether it is that. Raises BatchError."""
    try:
        content = decoded(path.read_bytes())
    except (OSError, ValueError):
        content = None  # for read_workflow to say
    return (read_description(path, content), True) if is_description(content) else (read_workflow(path), False)


def _run(args: argparse.Namespace, plan: Plan, store: Store) -> list[str]:
    """Runs the jobs; says of each that was set aside why. Raises BatchError."""
    if args.ray is None and plan.is_pipeline:
        from .pipeline.local import run_here

        return [str(failed) for failed in run_here(plan.graph, plan.make, store)]
    if args.ray is None:
        asyncio.run(_one_after_another(args, plan, store))
        return []
    if importlib.util.find_spec("ray") is None:
        raise BatchError(
            f"--ray: expected Ray in the environment of {sys.executable}, got none. Install it there, the same version "
            "on every node of a cluster: pip install 'ray==2.60.*'"
        )
    from .cluster.batch import run_on_cluster
    from .cluster.comfyui import Adopted, Started

    which = None if plan.is_pipeline else [Adopted(address) for address in args.server]
    if args.comfyui is not None:
        which = Started(args.comfyui.absolute(), args.python, args.arguments)
    return [str(failed) for failed in run_on_cluster(args.ray, which, args.workers, plan.graph, plan.make, store)]


async def _one_after_another(args: argparse.Namespace, plan: Plan, store: Store) -> None:
    with contextlib.ExitStack() as stack:
        [address] = args.server
        if args.comfyui is not None:
            log = store.folder / "comfyui.log"
            print(f"starting ComfyUI; its log is {log}", file=sys.stderr)
            address = stack.enter_context(started(args.comfyui, args.python, args.arguments, log))
        # The name of this client follows from the folder, so that ComfyUI tells the progress of jobs that an earlier
        # run has left in its queue to this one.
        async with connect(address, uuid.UUID(store.token).hex) as host:
            await run_jobs(host, store, plan.make(await object_infos(host, plan.graph)))


def look_at(store: Store, plan: Plan) -> None:
    """Leaves the overview of a batch, as far as it went, and says where."""
    if not plan.jobs:
        return
    overview = write_overview(store, plan.axes, plan.jobs)
    for note in store.table.notes.values():
        print(printable(note), file=sys.stderr)
    if overview.pictures:
        done = f"{overview.done} of " if overview.done < overview.jobs else ""
        where = ", ".join(str(store.folder / file) for file in (TABLE, *overview.sheets))
        print(printable(f"{overview.pictures} pictures of {done}{overview.jobs} jobs: {where}"))
