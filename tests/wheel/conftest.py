"""A wheel of the assembled folder, installed where there is nothing of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from lgs import _ffi

ROOT = Path(__file__).resolve().parents[2]


class Environment:
    """A virtual environment with the wheel; what else there is comes from the environment that the tests run in, but
    for the assembled folder."""

    def __init__(self, folder: Path, wheel: Path):
        self.folder, self.home = folder / "environment", folder / "home"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.folder], check=True)
        scripts = "Scripts" if sys.platform == "win32" else "bin"
        self.python, self.command = self.folder / scripts / "python", self.folder / scripts / "lgs"
        install = ["install", "--quiet", "--no-index", "--no-deps", str(wheel)]
        subprocess.run([sys.executable, "-m", "pip", "--python", self.python, *install], check=True)
        [self.packages] = self.folder.rglob("site-packages")
        # A path alone: the .pth files of that folder are not read.
        (self.packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        self.home.mkdir()

    def run(self, *command: str | Path, **options) -> subprocess.CompletedProcess[str]:
        """Runs a command in an empty home folder that it is in, too."""
        dropped = ("PYTHONPATH", "LD_LIBRARY_PATH")
        environment = {name: value for name, value in os.environ.items() if name not in dropped}
        places = dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "XDG_CACHE_HOME"), str(self.home))
        # As an activated environment has it.
        places |= {
            "VIRTUAL_ENV": str(self.folder),
            "PATH": os.pathsep.join([str(self.python.parent), os.environ["PATH"]]),
        }
        return subprocess.run(
            command,
            cwd=self.home,
            env=environment | places | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            **options,
        )

    def files(self) -> set[str]:
        return {str(file) for folder in (self.folder, self.home) for file in folder.rglob("*")}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That for this system."""
    into = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, ROOT / "host-shim" / "wheel.py", "--only", _ffi.liblgs.platform_name(), "--into", into]
    subprocess.run(command, check=True, capture_output=True)
    [made] = into.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("pip"), wheel)
