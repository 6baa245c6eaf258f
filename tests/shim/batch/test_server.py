"""A server ends with whoever has started it, however that ends, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lgs.batch.errors import BatchError
from lgs.batch.server import Server

FAKE = Path(__file__).parent / "cluster" / "fake_comfyui"

START = """
import sys, time
from pathlib import Path
from lgs.batch.server import Server
fake, scratch = map(Path, sys.argv[1:])
server = Server(fake, sys.executable, [f"--output-directory={scratch}"], scratch / "log", scratch=scratch)
server.start()
print(server.process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def server_in(scratch: Path) -> Server:
    return Server(FAKE, sys.executable, [f"--output-directory={scratch}"], scratch / "log", scratch=scratch)


def left(guard: psutil.Process) -> list[psutil.Process]:
    """What a guard has started, with itself."""
    return [guard, *guard.children(recursive=True)]


def ended(processes: list[psutil.Process], scratch: Path) -> bool:
    """Whether they do, and their scratch with them, within a while."""
    gone, alive = psutil.wait_procs(processes, timeout=30)
    deadline = time.monotonic() + 30
    while scratch.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive and not scratch.exists()


def test_stopped_it_leaves_nothing(scratch: Path):
    server = server_in(scratch)
    server.start()
    processes = left(psutil.Process(server.process.pid))
    assert len(processes) == 3 and scratch.exists()
    server.stop()
    assert ended(processes, scratch)


@pytest.mark.parametrize("guard_too", [False, True], ids=["", "and its guard, as Ray does with children"])
def test_it_ends_with_a_process_that_is_killed(scratch: Path, guard_too: bool):
    starter = subprocess.Popen([sys.executable, "-c", START, FAKE, scratch], stdout=subprocess.PIPE, text=True)
    try:
        processes = left(psutil.Process(int(starter.stdout.readline())))
        assert len(processes) == 3
        if guard_too:
            os.kill(processes[0].pid, signal.SIGKILL)
    finally:
        starter.kill()
        starter.wait()
    assert ended(processes, scratch)


def test_one_that_ends_by_itself_leaves_its_log(scratch: Path):
    server = server_in(scratch)
    server.start()
    _, _, process = left(psutil.Process(server.process.pid))
    process.send_signal(signal.SIGKILL)
    assert server.process.wait(30) == 256 - signal.SIGKILL
    assert "The end of its log" in server.log_tail()
    server.stop()


def test_one_that_does_not_start_says_why(tmp_path: Path):
    (tmp_path / "main.py").write_text("raise SystemExit('no module named torch')")
    server = Server(tmp_path, sys.executable, [], tmp_path / "log")
    with pytest.raises(BatchError, match="ended with status 1(.|\n)*no module named torch"):
        server.start()
