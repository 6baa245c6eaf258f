"""The command from end to end, on a server that draws at once and stops where it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import interruptible
import pytest
from aiohttp import web
from PIL import Image

from lgs.batch.command import main

from .plans import GRAPH, png, rows


class Server:
    """What of ComfyUI a batch needs; a graph with the seed ``fails`` ends in an error, ``stops`` never ends."""

    def __init__(self, fails: int = -1, stops: int = -1):
        self.fails, self.stops = fails, stops
        self.entries: dict[str, dict] = {}
        self.queued: dict[str, dict] = {}
        self.drawn: list[int] = []
        self.waiting = threading.Event()

    async def prompt(self, request: web.Request) -> web.Response:
        asked = await request.json()
        graph, prompt_id = asked["prompt"], asked["prompt_id"]
        seed = graph["1"]["inputs"]["seed"]
        if seed == self.stops:
            self.queued[prompt_id] = graph
            self.waiting.set()
        else:
            status = "error" if seed == self.fails else "success"
            files = [{"filename": f"{prompt_id}.png", "subfolder": "", "type": "output"}]
            self.entries[prompt_id] = {
                "prompt": [0, prompt_id, graph],
                "outputs": {"1": {"images": files}},
                "status": {"status_str": status, "messages": []},
            }
            self.drawn.append(seed)
        return web.json_response({"prompt_id": prompt_id})

    async def history(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        return web.json_response({wanted: self.entries[wanted]} if wanted in self.entries else {})

    async def view(self, request: web.Request) -> web.Response:
        graph = self.entries[request.query["filename"].removesuffix(".png")]["prompt"][2]
        return web.Response(body=png((graph["1"]["inputs"]["seed"], 0, 0), graph))

    async def queue(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            for prompt_id in (await request.json())["delete"]:
                self.queued.pop(prompt_id, None)
        return web.json_response({"queue_running": [], "queue_pending": [[0, one] for one in self.queued]})

    async def run(self, started: threading.Event, ended: asyncio.Event) -> None:
        app = web.Application()

        async def fixed(request: web.Request) -> web.Response:
            inputs = {"required": {name: ["INT"] for name in GRAPH["1"]["inputs"]}}
            kinds = {"/object_info/Noise": {"Noise": {"input": inputs}}, "/interrupt": {}}
            return web.json_response(kinds.get(request.path, {"system": {"comfyui_version": "0.3.64"}}))

        routes = {"/prompt": self.prompt, "/history/{id}": self.history, "/view": self.view, "/queue": self.queue}
        others = dict.fromkeys(("/system_stats", "/object_info/{kind}", "/interrupt"), fixed)
        for path, handler in (routes | others).items():
            app.router.add_route("*", path, handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = "{}:{}".format(*runner.addresses[0])
        self.loop, self.ended = asyncio.get_running_loop(), ended
        started.set()
        await ended.wait()
        await runner.cleanup()


@pytest.fixture
def server() -> Iterator[Server]:
    made, started = Server(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(made.run(started, asyncio.Event())))
    thread.start()
    started.wait()
    yield made
    made.loop.call_soon_threadsafe(made.ended.set)
    thread.join()


class Batch:
    def __init__(self, folder: Path, server: Server):
        self.out, self.server = folder / "out", server
        self.workflow = folder / "workflow.json"
        self.workflow.write_text(json.dumps(GRAPH))

    def run(self, *settings: str) -> int:
        chosen = [word for setting in settings for word in ("--set", setting)]
        return main([str(self.workflow), "--out", str(self.out), "--server", self.server.address, *chosen], "lgs batch")

    def plan(self, sheet: str = "contact-sheet.png") -> dict:
        with Image.open(self.out / sheet) as opened:
            return json.loads(opened.text["plan"])


@pytest.fixture
def batch(tmp_path: Path, server: Server) -> Batch:
    return Batch(tmp_path, server)


def test_a_plan_and_its_growth(batch: Batch, capsys: pytest.CaptureFixture):
    assert batch.run("steps=4,8", "seed=1..2") == 0
    out = capsys.readouterr().out
    assert out == f"4 pictures of 4 jobs: {batch.out / 'pictures.csv'}, {batch.out / 'contact-sheet.png'}\n"
    before = {file: file.read_bytes() for file in batch.out.glob("pictures/*")}
    assert sorted(file.name for file in before) == [f"steps={a}_seed=000{b}.png" for a in (4, 8) for b in (1, 2)]
    assert [(row["steps"], row["seed"], row["comfyui_version"]) for row in rows(batch.out)] == [
        (a, b, "0.3.64") for a in "48" for b in "12"
    ]
    assert batch.run("steps=4,8,16", "seed=1..2", "cfg=1.0,2.5") == 0
    assert len(batch.server.drawn) == 12, "those of before are not made again: cfg was 1.0"
    assert {file: file.read_bytes() for file in before} == before
    assert [row["cfg"] for row in rows(batch.out)][:5] == ["1.0"] * 4 + ["2.5"]
    assert all(
        file in {entry["files"][0] for entry in batch.plan()["jobs"]} for file in (r["file"] for r in rows(batch.out))
    )


def test_a_job_that_fails_leaves_what_there_is(batch: Batch, capsys: pytest.CaptureFixture):
    batch.server.fails = 3
    assert batch.run("seed=1..5") == 1
    said = capsys.readouterr()
    assert "error: job 3 (seed = 3)" in said.err and said.out.startswith("2 pictures of 2 of 5 jobs: ")
    assert [row["seed"] for row in rows(batch.out)] == ["1", "2"]
    assert [len(entry["files"]) for entry in batch.plan()["jobs"]] == [1, 1, 0, 0, 0]
    batch.server.fails = -1
    assert batch.run("seed=1..5") == 0
    assert [row["seed"] for row in rows(batch.out)] == list("12345")
    assert [len(entry["files"]) for entry in batch.plan()["jobs"]] == [1] * 5


def test_stopped_by_hand_leaves_what_there_is(batch: Batch, capsys: pytest.CaptureFixture):
    batch.server.stops = 3

    def stop() -> None:
        batch.server.waiting.wait()
        while len(list(batch.out.glob("jobs/*.json"))) < 2 or not rows(batch.out)[1:]:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop)
    thread.start()
    with interruptible.here():
        assert batch.run("seed=1..5") == 130
    thread.join()
    said = capsys.readouterr()
    assert "run the same command again" in said.err and said.out.startswith("2 pictures of 2 of 5 jobs: ")
    assert [len(entry["files"]) for entry in batch.plan()["jobs"]] == [1, 1, 0, 0, 0]
    assert not batch.server.queued


def test_a_first_job_that_fails_leaves_no_sheet_and_says_why(batch: Batch, capsys: pytest.CaptureFixture):
    batch.server.fails = 1
    assert batch.run("seed=1..2") == 1
    said = capsys.readouterr()
    assert "job 1 (seed = 1)" in said.err and not said.out
    assert not list(batch.out.glob("*.png"))


def test_a_sheet_that_cannot_be_written_does_not_hide_what_failed(batch: Batch, capsys: pytest.CaptureFixture):
    batch.server.fails = 2
    (batch.out / "contact-sheet.png").mkdir(parents=True)
    assert batch.run("seed=1..2") == 1
    assert "job 2 (seed = 2)" in capsys.readouterr().err
    batch.server.fails = -1
    assert batch.run("seed=1..2") == 1
    assert "contact-sheet.png: expected to write there" in capsys.readouterr().err


def test_a_table_of_somebody_else_is_told_of(batch: Batch, capsys: pytest.CaptureFixture):
    batch.out.mkdir()
    (batch.out / "pictures.csv").write_text("my own\n")
    assert batch.run("seed=1") == 0
    assert "pictures-old-1.csv" in capsys.readouterr().err
    assert (batch.out / "pictures-old-1.csv").read_text() == "my own\n"


def test_the_help_s_examples_name_what_is_there(batch: Batch, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main(["--help"], "lgs batch")
    shown = capsys.readouterr().out
    assert batch.run("steps=4,8", "seed=1..2") == 0
    for file in ("pictures.csv", "contact-sheet.png"):
        assert file in shown and (batch.out / file).is_file()
    assert "covariance=lanczos_seed=0001.png" in shown and (batch.out / "pictures" / "steps=4_seed=0001.png").is_file()
