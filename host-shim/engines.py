"""Build engines for other releases of torch: ``make engines TORCH="2.7 2.9"``.

    python host-shim/engines.py 2.7 2.9

Each is built with its own release of tch (``manifests/engines.json``) and the headers and libraries of a torch of its
own, from PyPI without what it depends on (1.7 GB), in ``target/engines/torch-2.7/``; ``assemble.py`` puts those that
are of the present sources side by side. One library links one tch, so each has a workspace: a copy of the sources,
whose Cargo.lock is that of the whole but for tch.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import sources
from assemble import ENGINES, ROOT, library_name

OF_THE_ENGINE = ("plugin/abi", "plugin/engine", "tests/engine")


def buildable() -> dict[str, str]:
    """The releases of torch that a tch fits, and that tch: ``{"2.7": "0.20", ...}``."""
    engines = json.loads((ROOT / "manifests" / "engines.json").read_text())["engines"]
    return {engine["torch"]: engine["tch"] for engine in engines if "tch" in engine}


def torch_for(release: str, folder: Path) -> Path:
    """The package ``torch`` of this release, installed under ``folder`` unless it is there."""
    package = folder / "python" / "torch"
    if not (folder / "python" / "finished").exists():
        shutil.rmtree(folder / "python", ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        # For a Python that all of them have: only headers and libraries are used.
        wheel = ["--no-deps", "--only-binary=:all:", "--python-version=3.12", "--target", folder / "python"]
        run([*pip, *wheel, f"torch=={release}.*"])
        (folder / "python" / "finished").touch()
    return package


def workspace(tch: str, folder: Path) -> Path:
    """A copy of the engine's sources with this tch; what has not changed keeps its time, and is not built again."""
    home = folder / "workspace"
    for name in OF_THE_ENGINE:
        shutil.rmtree(home / name, ignore_errors=True)
        shutil.copytree(ROOT / name, home / name)
    text = (ROOT / "Cargo.toml").read_text()
    text = re.sub(r"^members = .*$", 'members = ["plugin/abi", "plugin/engine"]', text, flags=re.MULTILINE)
    text = re.sub(r"^tch = .*$", f'tch = "={tch}.0"', text, flags=re.MULTILINE)
    (home / "Cargo.toml").write_text(text)
    shutil.copy2(ROOT / "Cargo.lock", home)
    run(["cargo", "update", "--quiet", "--package", "tch", "--precise", f"{tch}.0"], cwd=home)
    return home


def build(release: str, tch: str, folder: Path) -> None:
    torch = torch_for(release, folder)
    settings = {"LIBTORCH": str(torch), "LIBTORCH_CXX11_ABI": "1", "LGS_TORCH": release}
    environment = {name: value for name, value in os.environ.items() if name != "LIBTORCH_USE_PYTORCH"} | settings
    environment["CARGO_TARGET_DIR"] = str(folder / "cargo")
    command = ["cargo", "build", "--release", "--locked", "--package", "lgs_engine"]
    run(command, cwd=workspace(tch, folder), env=environment)
    shutil.copy2(folder / "cargo" / "release" / library_name("lgs_engine"), folder)


def run(command: list, **more) -> None:
    done = subprocess.run([*map(str, command)], **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: failed with status {done.returncode}")


def main():
    known = buildable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="+", metavar="TORCH", help=f"of {', '.join(known)}")
    releases = parser.parse_args().releases
    for release in releases:
        if release not in known:
            sys.exit(
                f"expected releases of torch that a release of tch fits, {', '.join(known)}, got {release!r}; the "
                "stable engine, which `make build` builds, serves 2.10 and all newer ones"
            )
    for release in releases:
        print(f"engine for torch {release}, with tch {known[release]}", flush=True)
        folder = ENGINES / f"torch-{release}"
        with sources.stamped(folder, sources.ENGINE):
            build(release, known[release], folder)


if __name__ == "__main__":
    main()
