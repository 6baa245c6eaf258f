"""Assemble the drop-in folder, ``dist/comfyui-lgs/``, from the sources and the built libraries.

    python host-shim/assemble.py --libraries target/release

The sources, ``host-shim/comfyui/``, are laid out as the folder is. What comes to them is ``bin/``, the licences, and
the English help pages once more under the names that the front end looks for in other languages.

What is in the folder is what is tested, what ``make build`` installs into ``.venv`` (by a ``.pth``
file that points at it), and what a user copies into ComfyUI's ``custom_nodes``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINKED = {"lgs": ROOT / "host-shim" / "lgs", "manifests": ROOT / "manifests"}
"""What is a symbolic link in host-shim/comfyui/, and a folder here. A checkout on Windows may have text files there."""
PREFIX, SUFFIX = {"win32": ("", ".dll"), "darwin": ("lib", ".dylib")}.get(sys.platform, ("lib", ".so"))


def platform_name() -> str:
    """This platform in the words of ``engines.schema.json``."""
    system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")
    machine = platform.machine().lower()
    return (
        f"{system}-{ {'amd64': 'x86_64', 'arm64': 'aarch64' if system == 'linux' else machine}.get(machine, machine) }"
    )


def engine_manifest(libraries: Path, torch: str, into: Path) -> None:
    """Copies the engines, that for ``torch`` ("2.11") and the stable one, and writes ``engines.json`` beside them."""
    manifest = json.loads((ROOT / "manifests" / "engines.json").read_text())
    engines = [build for build in manifest["engines"] if build["torch"] == torch or build.get("and_newer")]
    if all(build.get("and_newer") for build in engines):
        known = ", ".join(build["torch"] for build in manifest["engines"] if "tch" in build)
        sys.exit(f"manifests/engines.json: expected an entry for torch {torch}, which is installed, got {known}")
    for build in engines:
        stable = build.get("and_newer", False)
        source = libraries / f"{PREFIX}lgs_engine{'_stable' if stable else ''}{SUFFIX}"
        file = into / f"{PREFIX}lgs_engine-{'stable' if stable else f'torch{torch}'}{SUFFIX}"
        shutil.copy2(source, file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        build |= {"platform": platform_name(), "file": file.name, "sha256": digest}
    manifest["$schema"] = "../manifests/engines.schema.json"
    manifest["engines"] = engines
    (into / "engines.json").write_text(json.dumps(manifest, indent=2) + "\n")


def assemble(libraries: Path, torch: str, folder: Path) -> None:
    """Makes the folder anew beside its place and swaps it in: a host that has the old libraries
    loaded keeps them, and an interrupted run leaves the old folder."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    pack = ROOT / "host-shim" / "comfyui"
    shutil.copytree(pack, fresh, ignore=lambda at, names: {*ignored(at, names), *(LINKED if Path(at) == pack else ())})
    for name, source in LINKED.items():
        shutil.copytree(source, fresh / name, ignore=ignored)
    (fresh / "manifests" / "engines.json").unlink()  # of engines that can be built; bin/ has that of those that are
    for page in (fresh / "web" / "docs").glob("*/en.md"):
        shutil.copy2(page, page.parent.with_suffix(".md"))  # what the front end shows for all other languages
    for licence in ("LICENSE-MIT", "LICENSE-APACHE"):
        shutil.copy2(ROOT / licence, fresh)
    (fresh / "bin").mkdir()
    shutil.copy2(libraries / f"{PREFIX}lgs{SUFFIX}", fresh / "bin")
    engine_manifest(libraries, torch, fresh / "bin")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libraries", type=Path, required=True, help="where cargo put the libraries")
    parser.add_argument("--folder", type=Path, default=ROOT / "dist" / "comfyui-lgs")
    args = parser.parse_args()

    import torch

    release = ".".join(torch.__version__.split(".")[:2])
    args.folder.parent.mkdir(parents=True, exist_ok=True)
    assemble(args.libraries, release, args.folder)
    if sys.prefix != sys.base_prefix:
        Path(sysconfig.get_paths()["purelib"], "lgs.pth").write_text(f"{args.folder.resolve()}\n")
    print(f"assembled {args.folder}")


if __name__ == "__main__":
    main()
