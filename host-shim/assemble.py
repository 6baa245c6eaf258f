"""Assemble the drop-in folders, ``dist/comfyui-lgs/`` and ``dist/invokeai-lgs/``, from the sources and the libraries.

    python host-shim/assemble.py --libraries target/release

The sources, ``host-shim/comfyui/`` and ``host-shim/invokeai/``, are laid out as the folders are. What comes to them is
``bin/``, the licences, and the English help pages once more under the names that ComfyUI's front end looks for in other
languages.

What is in a folder is what is tested, and what a user copies into ComfyUI's ``custom_nodes`` or InvokeAI's ``nodes``.
``make build`` installs ComfyUI's into ``.venv`` (by a ``.pth`` file that points at it).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

import sources
from sources import ROOT

ENGINES = ROOT / "target" / "engines"
"""Where ``engines.py`` builds those for other releases of torch."""
CROSS = ROOT / "target" / "cross"
"""Where ``cross.py`` builds the libraries for other systems, a folder each."""
PACKS = ("comfyui", "invokeai")
"""The hosts whose packs ``host-shim/`` has."""
LINKED = {"lgs": ROOT / "host-shim" / "lgs", "manifests": ROOT / "manifests"}
"""What is a symbolic link in a pack's source, and a folder here. A checkout on Windows may have text files there."""


def platform_name() -> str:
    """This platform in the words of ``engines.schema.json``."""
    system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")
    machine = platform.machine().lower()
    return f"{system}-{ {'amd64': 'x86_64', 'arm64': 'aarch64'}.get(machine, machine) }"


def library_name(name: str, platform: str | None = None) -> str:
    """What cargo calls a library on a platform, or on this one."""
    system = (platform or platform_name()).split("-")[0]
    prefix, suffix = {"windows": ("", ".dll"), "macos": ("lib", ".dylib")}.get(system, ("lib", ".so"))
    return f"{prefix}{name}{suffix}"


def engine_manifest(libraries: Path, torch: str, into: Path) -> None:
    """Copies the engines and writes ``engines.json`` beside them.

    They are that for ``torch`` ("2.11"), the stable one, and those for other releases and systems that other commands
    have built of these sources.
    """
    manifest = json.loads((ROOT / "manifests" / "engines.json").read_text())
    known = manifest["engines"]
    # Not by what is installed alone: cargo does not build anew where another torch has taken the old one's place.
    tch = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["dependencies"]["tch"]
    [own] = [build["torch"] for build in known if "tch" in build and f"={build['tch']}.0" == tch]
    if torch != own:
        sys.exit(
            f"expected torch {own}, which tch {tch} of Cargo.toml is for, in the environment that builds, got torch "
            f"{torch}: install what tests/requirements.txt says; for other releases there is `make engines`"
        )
    engines = []
    for build in known:
        if build.get("and_newer"):
            engines.append(_placed(build, libraries / library_name("lgs_engine_stable"), into, "stable"))
        elif build["torch"] == torch:
            engines.append(_placed(build, libraries / library_name("lgs_engine"), into, f"torch{torch}"))
        elif _built(ENGINES / f"torch-{build['torch']}", sources.ENGINE, f"make engines TORCH={build['torch']}"):
            library = ENGINES / f"torch-{build['torch']}" / library_name("lgs_engine")
            engines.append(_placed(build, library, into, f"torch{build['torch']}"))
    for folder in sorted(CROSS.glob("*")):
        if _built(folder, sources.ALL, f"make {folder.name.partition('-')[0]}"):
            shutil.copy2(folder / library_name("lgs", folder.name), into)
            [stable] = [build for build in known if build.get("and_newer")]
            engine = folder / library_name("lgs_engine_stable", folder.name)
            engines.append(_placed(stable, engine, into, "stable", folder.name))
    manifest["$schema"] = "../manifests/engines.schema.json"
    manifest["engines"] = engines
    (into / "engines.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _placed(build: dict, library: Path, into: Path, name: str, platform: str | None = None) -> dict:
    """Puts an engine into the folder; its entry there."""
    file = into / f"{library.name.partition('lgs_engine')[0]}lgs_engine-{name}{library.suffix}"
    shutil.copy2(library, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return build | {"platform": platform or platform_name(), "file": file.name, "sha256": digest}


def _built(folder: Path, of: tuple[str, ...], command: str) -> bool:
    """Whether another command has built what goes into the folder, of the sources as they are."""
    if (folder / sources.STAMP).exists() and not sources.are_of(folder, of):
        print(f"left out, as the sources have changed since it was built: {folder.name}; build it with: {command}")
    return sources.are_of(folder, of)


def assemble(host: str, binaries: Path, dist: Path) -> Path:
    """Makes a host's folder anew beside its place and swaps it in, and gives it: a host that has the old libraries
    loaded keeps them, and an interrupted run leaves the old folder."""
    folder = dist / f"{host}-lgs"
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    pack = ROOT / "host-shim" / host
    shutil.copytree(pack, fresh, ignore=lambda at, names: {*ignored(at, names), *(LINKED if Path(at) == pack else ())})
    for name, source in LINKED.items():
        shutil.copytree(source, fresh / name, ignore=ignored)
    (fresh / "manifests" / "engines.json").unlink()  # of engines that can be built; bin/ has that of those that are
    for page in (fresh / "web" / "docs").glob("*/en.md"):
        shutil.copy2(page, page.parent.with_suffix(".md"))  # what the front end shows for all other languages
    for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
        shutil.copy2(ROOT / licence, fresh)
    shutil.copytree(binaries, fresh / "bin")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libraries", type=Path, required=True, help="where cargo put the libraries")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the folders go")
    args = parser.parse_args()

    import torch

    release = ".".join(torch.__version__.split(".")[:2])
    args.dist.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        binaries = Path(place) / "bin"
        binaries.mkdir()
        shutil.copy2(args.libraries / library_name("lgs"), binaries)
        engine_manifest(args.libraries, release, binaries)
        folders = {host: assemble(host, binaries, args.dist) for host in PACKS}
    if sys.prefix != sys.base_prefix:
        Path(sysconfig.get_paths()["purelib"], "lgs.pth").write_text(f"{folders['comfyui'].resolve()}\n")
    print(f"assembled {' and '.join(map(str, folders.values()))}")


if __name__ == "__main__":
    main()
