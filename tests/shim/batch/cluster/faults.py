"""A batch on Ray whose processes are killed, one after another, at random moments, until it is done all the same."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import interruptible
import psutil

KINDS = ("driver", "worker", "host", "raylet")
"""What is killed, in turn: the command; an actor; a ComfyUI; Ray's process on a node, and with it the node."""

SECONDS = 180
"""More than anything here takes."""


ENVIRONMENT = os.environ | {
    # Ray finds a node dead after 2 s, not 15: until then its actors go on, and few pictures would be left to make.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "3",
    # A cluster of `ray start` listens on all interfaces.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


@dataclasses.dataclass
class Faults:
    """One batch, run again whenever its command was killed or has ended with its cluster."""

    arguments: list[str]
    """Of `lgs batch`, without ``--out``."""
    out: Path
    marker: str
    """What stands in the command line of each of its ComfyUIs, and of none of others."""
    jobs: int
    seed: int
    moment: float
    """Seconds: after so many pictures a kill comes with a delay up to this."""
    cluster: Cluster | None = None
    """One that goes on when a node is killed; None: the command has one of its own, which does not."""
    events: list[str] = dataclasses.field(default_factory=list)
    process: subprocess.Popen | None = None

    def run(self, rounds: int) -> str:
        """Runs it to its end, with a kill in each round. Gives what its last command said."""
        chance = random.Random(self.seed)
        kinds = itertools.cycle(KINDS)
        try:
            for left in range(rounds, 0, -1):
                kind, finished = next(kinds), len(self.records())
                goal = finished + chance.randint(1, max(1, 2 * (self.jobs - finished) // (left + 2)))
                self._until(goal)
                time.sleep(chance.uniform(0, self.moment))
                self._kill(kind, chance)
            self._start_if_needed()
            assert self.process.wait(SECONDS) == 0, self.said()
            return self._output()
        finally:
            if self.process is not None and self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def records(self) -> list[Path]:
        return list(self.out.glob("jobs/*.json"))

    def wait_until_no_host_is_left(self) -> None:
        deadline = time.monotonic() + 60
        while left := hosts(self.marker):
            assert time.monotonic() < deadline, f"{left} outlived the batch"
            time.sleep(0.1)

    def said(self) -> str:
        """For a test that fails: the schedule, to run it again, and the last command's output."""
        return f"seed {self.seed}: {'; '.join(self.events)}\n{self._output()}"

    def _output(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    @property
    def _log(self) -> Path:
        return self.out.with_name("output.txt")

    def _start_if_needed(self) -> None:
        if self.process is None:
            command = [sys.executable, "-m", "lgs", "batch", "--out", str(self.out), *self.arguments]
            with self._log.open("wb") as log:
                self.process = interruptible.start(command, stdout=log, stderr=log, env=ENVIRONMENT)

    def _until(self, goal: int) -> None:
        """Waits until so many jobs are finished."""
        self._start_if_needed()
        deadline = time.monotonic() + SECONDS
        while len(self.records()) < goal and time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.02)
        assert len(self.records()) >= goal, f"expected {goal} finished jobs, got {len(self.records())}. {self.said()}"

    def _kill(self, kind: str, chance: random.Random) -> None:
        victim = chance.choice(self._wait_for(kind))
        self.events.append(f"{kind} {victim.pid} at {len(self.records())} of {self.jobs}")
        victim.send_signal(signal.SIGKILL)
        if kind == "driver":
            self.process.wait(SECONDS)
            self.process = None
        elif kind == "raylet" and self.cluster is None:
            # The actors notice it within seconds; until then they work on.
            status = self.process.wait(SECONDS)
            self.events.append(f"ended with status {status} at {len(self.records())}")
            if len(self.records()) < self.jobs:
                assert status == 1 and "the raylet, has ended" in self._output(), self.said()
                assert "Run the same command again" in self._output(), self.said()
                assert "Traceback" not in self._output(), self.said()
                self.process = None
        elif kind == "raylet":
            self.cluster.mend()

    def _wait_for(self, kind: str) -> list[psutil.Process]:
        """The processes of a kind; none are there while those that were killed are started again."""
        deadline = time.monotonic() + SECONDS
        while not (found := list(self._found(kind))):
            assert time.monotonic() < deadline and self.process.poll() is None, f"no {kind}. {self.said()}"
            time.sleep(0.05)
        return found

    def _found(self, kind: str) -> Iterator[psutil.Process]:
        if kind == "driver":
            yield psutil.Process(self.process.pid)
        elif kind == "host":
            yield from hosts(self.marker)
        else:
            raylets = self.cluster.raylets() if self.cluster else _raylets(psutil.Process(self.process.pid))
            if kind == "raylet":
                yield from raylets
            for raylet in raylets if kind == "worker" else ():
                yield from (p for p in _children(raylet) if "ray::ComfyUI" in " ".join(_command(p)))


REGISTERED = """
import ray, sys, time
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
for _ in range(100):
    if ray.cluster_resources().get("CPU", 0) >= int(sys.argv[2]):
        sys.exit()
    time.sleep(0.2)
sys.exit(1)
"""


class Cluster:
    """A head without processors, and nodes, on this machine: as `ray start` starts them."""

    def __init__(self, nodes: int, *has: str):
        """``has``: what each node is said to have; one processor, if nothing is said."""
        self.has = has or ("--num-cpus=1",)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.wanted = nodes
        self.head = self._start("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        self.nodes: list[subprocess.Popen] = []

    def wait(self) -> None:
        """Until the head answers; starts the nodes and waits for them too."""
        deadline = time.monotonic() + SECONDS
        while not _raylets(psutil.Process(self.head.pid)):
            assert self.head.poll() is None and time.monotonic() < deadline, "the cluster's head did not start"
            time.sleep(0.1)
        command = [sys.executable, "-c", REGISTERED, self.address, str(self.wanted)]
        self.mend()
        # Of several that start at once on one machine a node may end again.
        while subprocess.run(command, env=ENVIRONMENT, capture_output=True).returncode:
            assert time.monotonic() < deadline, "the cluster's nodes did not start"
            self.mend()

    def mend(self) -> None:
        """Starts nodes in the place of those that were killed."""
        alive = [node for node in self.nodes if node.poll() is None and node.pid not in self._without_raylet()]
        self.nodes += [self._start(f"--address={self.address}", *self.has) for _ in range(self.wanted - len(alive))]

    def raylets(self) -> list[psutil.Process]:
        return [raylet for node in self.nodes if node.poll() is None for raylet in _raylets(psutil.Process(node.pid))]

    def stop(self) -> None:
        for process in (*self.nodes, self.head):
            process.terminate()
        for process in (*self.nodes, self.head):
            process.wait(SECONDS)

    def _without_raylet(self) -> set[int]:
        return {node.pid for node in self.nodes if node.poll() is None and not _raylets(psutil.Process(node.pid))}

    @staticmethod
    def _start(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *arguments]
        return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def hosts(marker: str) -> list[psutil.Process]:
    """The ComfyUIs whose command line has a text, without their guards."""
    commands = ((process, process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [process for process, command in commands if command[1:2] == ["main.py"] and marker in " ".join(command)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _raylets(process: psutil.Process) -> list[psutil.Process]:
    return [p for p in _children(process) if Path((_command(p) or [""])[0]).name == "raylet"]
