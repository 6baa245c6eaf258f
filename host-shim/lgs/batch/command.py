"""The command line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import uuid
from pathlib import Path

from .errors import BatchError
from .host import Host, connect
from .overview import write_overview
from .plan import Axis, Graph, Job, jobs, read_axis, read_workflow
from .run import run_jobs
from .server import started
from .store import Store, open_store
from .table import TABLE
from .untrusted import printable

DESCRIPTION = """Run one ComfyUI workflow over many seeds and settings.

  %(prog)s workflow.json --out out/seeds --set noise_seed=1..60
  %(prog)s workflow.json --out out/compared --set covariance=lanczos,isotropic --set noise_seed=1..8

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
    parser.add_argument("workflow", type=Path, help="in API format: Workflow > Export (API) in ComfyUI")
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
        default="127.0.0.1:8188",
        metavar="ADDRESS",
        help="a running ComfyUI: host:port or a URL (default: %(default)s)",
    )
    where.add_argument(
        "--comfyui",
        type=Path,
        metavar="FOLDER",
        help="start the ComfyUI of this folder, for this batch; what follows -- are further arguments for it",
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter to start it with (default: this one)")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    args = parser.parse_args(arguments[:split])
    args.arguments = arguments[split + 1 :]
    if args.arguments and args.comfyui is None:
        parser.error("arguments after -- are for the ComfyUI that --comfyui starts; without it there is none")
    try:
        graph = read_workflow(args.workflow)
        with open_store(args.out) as store:
            asyncio.run(_batch(args, graph, store))
    except BatchError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


async def _batch(args: argparse.Namespace, graph: Graph, store: Store) -> None:
    axes: list[Axis] = []
    made: list[Job] = []
    try:
        with contextlib.ExitStack() as stack:
            address = args.server
            if args.comfyui is not None:
                log = store.folder / "comfyui.log"
                print(f"starting ComfyUI; its log is {log}", file=sys.stderr)
                address = stack.enter_context(started(args.comfyui, args.python, args.arguments, log))
            # The name of this client follows from the folder, so that ComfyUI tells the progress of jobs that an
            # earlier run has left in its queue to this one.
            async with connect(address, uuid.UUID(store.token).hex) as host:
                schemas = await _schemas(host, graph)
                axes = [read_axis(graph, schemas, text) for text in args.set]
                made = jobs(graph, axes)
                await run_jobs(host, store, made)
    except (asyncio.CancelledError, BatchError):
        with contextlib.suppress(BatchError):  # what stopped it is what there is to say
            look_at(store, axes, made)
        raise
    look_at(store, axes, made)


def look_at(store: Store, axes: list[Axis], made: list[Job]) -> None:
    """Leaves the overview of a batch, as far as it went, and says where."""
    if not made:
        return
    overview = write_overview(store, axes, made)
    for note in store.table.notes.values():
        print(printable(note), file=sys.stderr)
    if overview.pictures:
        done = f"{overview.done} of " if overview.done < overview.jobs else ""
        where = ", ".join(str(store.folder / file) for file in (TABLE, *overview.sheets))
        print(printable(f"{overview.pictures} pictures of {done}{overview.jobs} jobs: {where}"))


async def _schemas(host: Host, graph: Graph) -> dict[str, dict]:
    """{class: what ComfyUI says of it} for the classes of a graph. Raises BatchError where it has no such class."""
    schemas = {}
    for node_id, node in graph.items():
        kind = node["class_type"]
        found = schemas.get(kind) or await host.object_info(kind)
        if found is None:
            raise BatchError(
                f"node {node_id}: expected a class of nodes that the ComfyUI at {host.address} has, got {kind!r}. "
                "Install the node pack that it belongs to and restart ComfyUI. Its log says which packs failed."
            )
        schemas[kind] = found
    return schemas
