"""Servers that are no ComfyUI, or misbehave: an error that says what was expected, what came, what to do."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lgs.batch.errors import BatchError
from lgs.batch.host import connect
from lgs.batch.plan import Graph, Job
from lgs.batch.run import run_jobs
from lgs.batch.store import Store, open_store

GRAPH: Graph = {"1": {"class_type": "Noise", "inputs": {"seed": 1}}}
JOB = Job(1, {"seed": 1}, GRAPH)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def store(tmp_path: Path):
    with open_store(tmp_path) as store:
        yield store


def answer(content: object, status: int = 200) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(content, status=status)

    return handler


def png(graph: Graph | None = GRAPH) -> bytes:
    info, out = PngInfo(), io.BytesIO()
    if graph is not None:
        info.add_text("prompt", json.dumps(graph))
    Image.new("L", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def ran(store: Store, *files: dict, status: str = "success", messages: tuple = ()) -> Handler:
    """A history in which the job is."""
    entry = {
        "prompt": [0, store.prompt_id(JOB), GRAPH, {}, []],
        "outputs": {"9": {"images": list(files)}},
        "status": {"status_str": status, "messages": list(messages)},
    }
    return answer({store.prompt_id(JOB): entry})


def run(store: Store, routes: dict[str, Handler]) -> None:
    """Runs the job on a server with these routes beside those of an idle ComfyUI."""

    async def go() -> None:
        app = web.Application()
        idle = {
            "/system_stats": answer({"system": {}}),
            "/queue": answer({"queue_running": [], "queue_pending": []}),
            "/history/{id}": answer({}),
            "/prompt": answer({"prompt_id": store.prompt_id(JOB)}),
            "/interrupt": answer({}),
        }
        for path, handler in (idle | routes).items():
            app.router.add_route("*", path, handler)
        async with TestServer(app) as server, connect(f"{server.host}:{server.port}", "client") as host:
            await run_jobs(host, store, [JOB])

    asyncio.run(go())


REFUSED = {
    "node_errors": {"9": {"class_type": "SaveImage", "errors": [{"message": "Value not in list", "details": "x"}]}}
}
FILE = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}


def view(content: bytes) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=content)

    return handler


def test_what_it_has_made_before_is_fetched_as_it_is(store: Store):
    preview = FILE | {"type": "temp"}
    messages = (["execution_start", {"timestamp": 1000}], ["execution_success", {"timestamp": 3500}])
    run(store, {"/history/{id}": ran(store, preview, FILE, messages=messages), "/view": view(png())})
    done = store.done(JOB)
    assert done.seconds == 2.5
    assert [(store.folder / p.file).read_bytes() for p in done.pictures] == [png()]


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".webp", ".jpg", ".gif"])
def test_pictures_of_all_formats_stay_as_they_came(store: Store, suffix: str):
    """With what ComfyUI and other savers put beside the pixels."""
    out, exif, info = io.BytesIO(), Image.Exif(), PngInfo()
    exif[0x010E] = json.dumps(GRAPH)
    info.add_text("prompt", json.dumps(GRAPH))
    info.add_itxt("workflow", "\U0001f600", zip=True)
    Image.new("RGB", (8, 6), "red").save(out, Image.registered_extensions()[suffix.lower()], exif=exif, pnginfo=info)
    content = out.getvalue() + b"whatever comes behind"
    file = FILE | {"filename": f"a_00001_{suffix}"}
    run(store, {"/history/{id}": ran(store, file), "/view": view(content)})
    [picture] = store.done(JOB).pictures
    assert (store.folder / picture.file).read_bytes() == content
    assert picture.file.endswith(suffix) and (picture.width, picture.height) == (8, 6)


@pytest.mark.parametrize(("said", "version"), [("0.3.64", "0.3.64"), ("=1" * 99, "'" + "=1" * 20), (3, ""), (None, "")])
def test_the_version_of_comfyui_is_noted(store: Store, said: object, version: str):
    stats = answer({"system": {"comfyui_version": said}})
    run(store, {"/system_stats": stats, "/history/{id}": ran(store, FILE), "/view": view(png())})
    with (store.folder / "pictures.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["comfyui_version"] for row in csv.DictReader(file)] == [version]


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        (
            {"/system_stats": answer({"hello": 1})},
            "system_stats: expected an answer of ComfyUI.*system is wrong.*Is it a ComfyUI",
        ),
        ({"/system_stats": answer(["hello"])}, "Is it a ComfyUI"),
        ({"/system_stats": view(b"<html>")}, "expected an answer of ComfyUI, got '<html>'"),
        ({"/system_stats": answer({}, status=401)}, "got status 401.*password"),
        ({"/prompt": answer({}, status=500)}, "seed = 1.*got status 500"),
        ({"/prompt": answer({"prompt_id": "another"})}, "takes the id of a prompt from its client"),
        (
            {"/prompt": answer(REFUSED | {"error": "no"}, status=400)},
            "seed = 1.*a refusal.*SaveImage.*Fix the workflow",
        ),
        ({"/prompt": answer(REFUSED)}, "a refusal. SaveImage .node 9.: Value not in list: x"),
        ({}, "it was taken out.*Run the same command again"),
    ],
)
def test_wrong_answers(store: Store, routes: dict, words: str):
    with pytest.raises(BatchError, match=words):
        run(store, routes)
    assert store.done(JOB) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png()[:-30], "expected a whole picture"),
        (b"", "expected a whole picture"),
        (png({"1": {"class_type": "Noise", "inputs": {"seed": 2}}}), "got that of another run"),
    ],
)
def test_wrong_pictures(store: Store, content: bytes, words: str):
    with pytest.raises(BatchError, match=words):
        run(store, {"/history/{id}": ran(store, FILE), "/view": view(content)})
    assert store.done(JOB) is None


def test_a_picture_that_was_deleted(store: Store):
    with pytest.raises(BatchError, match="a_00001_.png.*deleted or moved"):
        run(store, {"/history/{id}": ran(store, FILE), "/view": answer({}, status=404)})


def test_a_workflow_that_saves_nothing(store: Store):
    with pytest.raises(BatchError, match="Add a SaveImage node"):
        run(store, {"/history/{id}": ran(store)})


def test_a_workflow_that_saves_a_video(store: Store):
    video = FILE | {"filename": "a_00001_.mp4"}
    with pytest.raises(BatchError, match=r"got a_00001_.mp4. Add a SaveImage node to the workflow; of a video"):
        run(store, {"/history/{id}": ran(store, video)})
    run(store, {"/history/{id}": ran(store, video, FILE), "/view": view(png())})
    assert len(store.done(JOB).pictures) == 1, "the picture beside it"


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (
            (["execution_error", {"node_type": "Noise", "node_id": "1", "exception_message": "Expected a seed.\n"}],),
            "got an error. Noise (node 1): Expected a seed. Fix the workflow",
        ),
        (
            (["execution_interrupted", {"node_type": "Noise", "node_id": "1"}],),
            "got it stopped by hand at Noise (node 1). Run the same command again",
        ),
        ((), "got an error, and it does not say why. Fix the workflow"),
    ],
)
def test_a_run_that_failed(store: Store, messages: tuple, words: str):
    with pytest.raises(BatchError, match="job 1 .seed = 1.: expected ComfyUI to run it, " + re.escape(words)):
        run(store, {"/history/{id}": ran(store, FILE, status="error", messages=messages)})
    assert store.done(JOB) is None


@pytest.mark.parametrize("address", ["127.0.0.1:9", "http://127.0.0.1:9/", "ftp://127.0.0.1:9", "nonsense://", ""])
def test_nobody_listens(address: str):
    async def go() -> None:
        async with connect(address, "client"):
            pass

    with pytest.raises(BatchError, match="expected a running ComfyUI"):
        asyncio.run(go())
