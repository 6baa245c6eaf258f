"""`batch` and a server that answers nonsense, and workflow files that are none: an error in words, never a traceback,
nothing that a terminal obeys, no end of bytes or pixels; and what is finished is kept."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import random
import struct
import zlib

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from lgs.batch import host as host_module
from lgs.batch.command import main
from lgs.batch.errors import BatchError
from lgs.batch.host import connect
from lgs.batch.plan import Job, read_workflow
from lgs.batch.run import run_jobs
from lgs.batch.store import open_store
from lgs.batch.untrusted import DEEPEST, decoded, printable

GRAPH = {"1": {"class_type": "Noise", "inputs": {"seed": 1}}}
JOB = Job(1, {"seed": 1}, GRAPH)
FILE = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}


def png() -> bytes:
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "PNG")
    return out.getvalue()


def honest(prompt_id: str) -> dict[str, object]:
    """What a ComfyUI that has run the job answers, by route."""
    messages = [["execution_start", {"timestamp": 1000}], ["execution_success", {"timestamp": 3500}]]
    entry = {
        "prompt": [0, prompt_id, GRAPH, {}, ["1"]],
        "outputs": {"1": {"images": [FILE]}},
        "status": {"status_str": "success", "completed": True, "messages": messages},
    }
    return {
        "/system_stats": {"system": {"os": "posix"}, "devices": []},
        "/queue": {"queue_running": [], "queue_pending": [[1, "other", GRAPH, {}, []]]},
        "/history/{id}": {prompt_id: entry},
        "/prompt": {"prompt_id": prompt_id, "number": 1, "node_errors": {}},
        "/interrupt": {},
        "/view": png(),
    }


def reply(content: object) -> web.Response:
    if isinstance(content, web.Response):
        return content
    return web.Response(body=content if isinstance(content, bytes) else json.dumps(content).encode())


def run(folder, changed) -> object:
    """Runs the job on a server whose answers are ``changed(honest answers)``; gives the job's record."""
    loose = []

    async def go(store) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: loose.append(context))
        app = web.Application()
        for path, content in changed(honest(store.prompt_id(JOB))).items():

            async def handler(request: web.Request, content=content) -> web.StreamResponse:
                return await content(request) if callable(content) else reply(content)

            app.router.add_route("*", path, handler)
        async with TestServer(app) as server, connect(f"{server.host}:{server.port}", "client") as host:
            await run_jobs(host, store, [JOB])

    with open_store(folder) as store:
        try:
            asyncio.run(go(store))
        finally:
            assert not loose, loose
        return store.done(JOB)


def test_honest_answers_do(tmp_path):
    assert run(tmp_path, lambda answers: answers).seconds == 2.5


NONSENSE = {
    "nothing": b"",
    "no JSON": b"<html>",
    "not UTF-8": b"\xff\xfe\x00\xd8",
    "null": None,
    "a number": 3,
    "a text": "x",
    "a list": [],
    "an empty object": {},
    "NaN": b'{"system": NaN}',
    "a number of 5000 digits": b'{"system": {"a": ' + b"9" * 5000 + b"}}",
    "200,000 levels": b"[" * 200_000 + b"]" * 200_000,
    "200,000 objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "lone surrogates": b'{"system": "\\ud800"}',
}


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("path", ["/system_stats", "/queue", "/view"])
def test_nonsense(path, content, tmp_path):
    with pytest.raises(BatchError):
        run(tmp_path, lambda answers: answers | {path: content})


NO_HISTORY = {name: content for name, content in NONSENSE.items() if content != {}}
"""An empty one is honest."""


@pytest.mark.parametrize("content", NO_HISTORY.values(), ids=NO_HISTORY)
def test_nonsense_for_a_history(content, tmp_path):
    with pytest.raises(BatchError):
        run(tmp_path, lambda answers: answers | {"/history/{id}": content})


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_where_a_job_is_submitted(content, tmp_path):
    with pytest.raises(BatchError):
        run(tmp_path, lambda answers: answers | {"/history/{id}": {}, "/prompt": content})


PARTS = [None, True, -1, 0, 1e308, 2**70, "", "x", "\x1b[2J", "../../x", [], [[]], [None], {}, {"a": 1}, {"": None}]


def mutated(value: object, chance: random.Random) -> object:
    """The same but for one part, at any depth, which is another, left out or twice there."""
    if isinstance(value, dict | list) and value and chance.random() < 0.85:
        value = copy.copy(value)
        place = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        kind = chance.random()
        if kind < 0.15:
            del value[place]
        elif kind < 0.25 and isinstance(value, list):
            value.append(value[place])
        else:
            value[place] = mutated(value[place], chance)
        return value
    return chance.choice(PARTS)


@pytest.mark.parametrize("seed", range(8))
def test_mutated_answers(seed: int, tmp_path):
    """Each run succeeds or says what is wrong; what has succeeded has the right picture."""
    chance, refused = random.Random(seed), 0
    for number in range(60):

        def changed(answers: dict) -> dict:
            path = chance.choice([path for path in answers if path != "/view"])
            answers = answers | {path: mutated(answers[path], chance)}
            if path == "/prompt":
                answers["/history/{id}"] = {}
            return answers

        try:
            run(tmp_path / str(number), changed)
        except BatchError as error:
            refused += 1
            assert str(error).strip()
    assert refused > 20, "the mutations change nothing"


def bomb(width: int, height: int) -> bytes:
    """A small PNG of many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"\0") + chunk(b"IEND", b"")


def long_text() -> bytes:
    """A PNG whose text unpacks to more than Pillow takes."""
    packed = zlib.compress(b"x" * (1 << 27), 9)
    data = b"prompt\0\0" + packed
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return png()[:33] + chunk + png()[33:]


@pytest.mark.parametrize("content", [bomb(0, 8), long_text(), png()[:40]], ids=range(3))
def test_pictures_that_are_none(content, tmp_path):
    with pytest.raises(BatchError, match="expected a whole picture as a_00001_.png"):
        run(tmp_path, lambda answers: answers | {"/view": content})


def test_a_picture_of_ten_billion_pixels(tmp_path):
    with pytest.raises(BatchError, match="expected a picture of at most [0-9]+ pixels as a_00001_.png, got more"):
        run(tmp_path, lambda answers: answers | {"/view": bomb(100_000, 100_000)})


FAILED = {"node_type": "Noise", "node_id": "1", "exception_message": "no", "timestamp": 1}


@pytest.mark.parametrize("seed", range(2))
def test_mutated_failures(seed: int, tmp_path):
    """What a run that failed says of why."""
    chance = random.Random(seed)
    for number in range(40):

        def changed(answers: dict) -> dict:
            [entry] = answers["/history/{id}"].values()
            messages = mutated([["execution_error", FAILED]], chance)
            entry["status"] = {"status_str": "error", "messages": messages}
            return answers

        with pytest.raises(BatchError):
            run(tmp_path / str(number), changed)


@pytest.mark.parametrize("path", ["/view", "/queue"])
def test_an_answer_without_end(path, tmp_path, monkeypatch):
    monkeypatch.setattr(host_module, "MOST_BYTES", 1 << 20)

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b" " * 65536)

    with pytest.raises(BatchError, match="expected at most 1048576 bytes, got more"):
        run(tmp_path, lambda answers: answers | {path: endless})


def test_more_pictures_than_anyone_makes(tmp_path, monkeypatch):
    monkeypatch.setattr("lgs.batch.run.MOST_FILES", 3)

    def changed(answers: dict) -> dict:
        [entry] = answers["/history/{id}"].values()
        entry["outputs"]["1"]["images"] = [FILE] * 4
        return answers

    with pytest.raises(BatchError, match="expected at most 3 pictures, got 4"):
        run(tmp_path, changed)


@pytest.mark.parametrize("path", ["/system_stats", "/prompt", "/view"])
@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_is_not_followed(path, status, tmp_path):
    elsewhere = []

    async def other(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        return web.json_response({})

    def changed(answers: dict) -> dict:
        if path == "/prompt":
            answers["/history/{id}"] = {}
        sent_on = web.Response(status=status, headers={"Location": "/elsewhere"})
        return answers | {path: sent_on, "/elsewhere": other}

    with pytest.raises(BatchError, match="got sent on to '/elsewhere'"):
        run(tmp_path, changed)
    assert not elsewhere


def test_the_websocket_is_not_sent_on_either(tmp_path):
    elsewhere = []

    async def other(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        return web.json_response({})

    sent_on = web.Response(status=302, headers={"Location": "/elsewhere"})
    assert run(tmp_path, lambda answers: {"/ws": sent_on, "/elsewhere": other} | answers)
    assert not elsewhere


def test_a_websocket_that_says_nonsense(tmp_path):
    far = '{"type": "progress", "data": {"value": Infinity, "max": 1}}'
    said = [
        "{",
        far,
        "[1]",
        "[" * 100_000,
        '{"type": 3}',
        '{"type": "progress", "data": {"value": "x", "max": []}}',
        "{}",
    ]

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for text in said:
            await socket.send_str(text)
        await socket.send_bytes(b"\xff" * 100)
        await socket.close()
        return socket

    assert run(tmp_path, lambda answers: {"/ws": talk} | answers)


ADDRESSES = ["http://[", "http://a:99999", "a:b", "http://\ud800", "http://" + "a" * 300, "http://a\nb", "://", "[::1"]


@pytest.mark.parametrize("address", ADDRESSES, ids=range(len(ADDRESSES)))
def test_addresses_that_are_none(address, tmp_path, capsys):
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(GRAPH))
    assert main([str(workflow), "--out", str(tmp_path / "out"), "--server", address], "lgs batch") == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_what_reaches_the_terminal_is_obeyed_by_none(tmp_path, capsys):
    node = "\x1b]0;owned\x07\u202e\x9b2J\ud800"
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps({node: {"class_type": 3, "inputs": {}}}))
    assert main([str(workflow), "--out", str(tmp_path / "out")], "lgs batch") == 1
    shown = capsys.readouterr().err
    assert "owned" in shown and shown == printable(shown)
    assert printable("a\x1b[2Jb\r\x9b\u202ec\nd") == "a\ufffd[2Jb\ufffd\ufffd\ufffdc\nd"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_workflow_files_with_a_byte_order_mark(encoding, tmp_path):
    file = tmp_path / "workflow.json"
    file.write_bytes(json.dumps(GRAPH).encode(encoding))
    assert read_workflow(file) == GRAPH


@pytest.mark.parametrize("levels", [DEEPEST + 1, 2_000, 200_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_workflow_files_of_many_levels(levels, brackets, tmp_path):
    opened, closed = ("[", "]") if brackets == "[]" else ('{"a":', "}")
    inner = opened * levels + "1" + closed * levels
    file = tmp_path / "workflow.json"
    file.write_text(f'{{"1": {{"class_type": "Noise", "inputs": {{"seed": {inner}}}}}}}')
    with pytest.raises(BatchError, match=f"more than {DEEPEST} levels"):
        read_workflow(file)


def test_levels_up_to_the_limit_are_taken():
    assert decoded("[" * DEEPEST + "]" * DEEPEST)
