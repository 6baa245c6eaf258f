"""PyTorch's DLLs for Windows, out of its wheels on PyPI: about 0.4 GB for a release.

They are put into ``target/windows-torches/torch-2.11.0/``, with those of Microsoft's C++ runtime, of which Wine has not
all.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).resolve().parents[2] / "target" / "windows-torches"
RELEASES = ("2.11.0", "2.15.0")
RUNTIME = "msvc-runtime==14.51.36231"


def dlls(release: str) -> Path:
    """Where the DLLs of a release are, or will be."""
    return FOLDER / f"torch-{release}"


def fetch(release: str) -> None:
    home = dlls(release)
    if home.exists():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as wheels:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        windows = ["--only-binary=:all:", "--platform=win_amd64", "--python-version=3.12", "--implementation=cp"]
        subprocess.run([*pip, *windows, "--dest", wheels, f"torch=={release}", RUNTIME], check=True)
        unpacked = Path(wheels, "dlls")
        unpacked.mkdir()
        for wheel in map(zipfile.ZipFile, Path(wheels).glob("*.whl")):
            for name in wheel.namelist():
                if name.endswith(".dll"):
                    (unpacked / PurePosixPath(name).name).write_bytes(wheel.read(name))
        # Where it is, all of it is.
        unpacked.rename(home)
