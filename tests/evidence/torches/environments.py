"""An environment with one release of torch, and what the shim's tests need beside it."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
OF_ONE_TORCH = re.compile(r"(torch|torchvision|torchaudio)==")
"""Requirements that go with one release of torch. What the tests need of torchvision they skip without."""


class CannotInstall(Exception):
    """Why there is no environment, in pip's words."""


@contextlib.contextmanager
def environment(release: str, folder: Path, keep: bool = False) -> Iterator[Path]:
    """The interpreter of a new environment with ``torch==release``, which is about 5 GB; removed at the end.

    Raises `CannotInstall`.
    """
    home = folder / f"torch-{release}"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    finished = home / "finished"
    if not finished.exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        try:
            _install(python, f"torch=={release}", *_others())
            _install(python, "--no-deps", "-r", str(TESTS / "requirements-data.txt"))
        except CannotInstall:
            shutil.rmtree(home, ignore_errors=True)
            raise
        finished.touch()
    try:
        yield python
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def _others() -> list[str]:
    lines = (TESTS / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line.split("#")[0].strip() for line in lines]
    return [requirement for requirement in requirements if requirement and not OF_ONE_TORCH.match(requirement)]


def _install(python: Path, *what: str) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", *what]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise CannotInstall(done.stderr.strip().splitlines()[-1])
