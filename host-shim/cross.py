"""Cross-build liblgs and the stable engine for other systems: ``make windows``, ``make macos``, on Linux.

    python host-shim/cross.py windows-x86_64

The libraries go to ``target/cross/windows-x86_64/``, and ``assemble.py`` puts them into the drop-in folder. Rust's
standard library for the target comes from rustup or, where that cannot download, is built of the sources that a
distribution's Rust brings. For Windows mingw-w64's gcc links; for macOS zig does, by cargo-zigbuild.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import sources
from assemble import CROSS, ROOT, library_name


class Target(NamedTuple):
    """How libraries for a system are built."""

    triple: str
    cargo: str
    """The program, as cargo or in its place."""
    needs: str
    """A program that has to be there."""
    missing: str
    """How to get it."""


MINGW = Target(
    "x86_64-pc-windows-gnu",
    "cargo",
    "x86_64-w64-mingw32-gcc",
    "install mingw-w64 (Debian: apt install gcc-mingw-w64-x86-64-win32)",
)
TARGETS = {
    "windows-x86_64": MINGW,
    # Of torch there is no build for Macs with Intel's processors any more.
    "macos-aarch64": Target(
        "aarch64-apple-darwin", "cargo-zigbuild", "cargo-zigbuild", "pip install cargo-zigbuild ziglang into .venv"
    ),
}
LIBRARIES = {"lgs_plugin": "lgs", "lgs_engine_stable": "lgs_engine_stable"}
"""By the packages that they are of."""


def cargo(triple: str, program: str) -> tuple[list[str], dict[str, str]]:
    """A cargo that can build for a target, with what it has to be told in its environment."""
    added = shutil.which("rustup") and subprocess.run(["rustup", "target", "add", triple]).returncode == 0
    if added or (_sysroot("rustc") / "lib" / "rustlib" / triple).is_dir():
        return [program], {}
    rustc = "/usr/bin/rustc"
    if Path(rustc).exists() and (_sysroot(rustc) / "lib" / "rustlib" / "src" / "rust" / "library").is_dir():
        # Nightly's flag, which a released compiler takes where it is told to.
        return ["/usr/bin/cargo", "-Zbuild-std=std,panic_unwind"], {"RUSTC": rustc, "RUSTC_BOOTSTRAP": "1"}
    sys.exit(
        f"expected Rust's standard library for {triple}, found none: run `rustup target add {triple}`, or install a "
        "Rust with its sources (Debian: apt install rustc-web cargo-web rust-web-src)"
    )


def _sysroot(rustc: str) -> Path:
    return Path(subprocess.run([rustc, "--print", "sysroot"], capture_output=True, text=True).stdout.strip())


def build(platform: str) -> None:
    target = TARGETS[platform]
    if not shutil.which(target.needs):
        sys.exit(f"expected {target.needs}, found none: {target.missing}")
    command, settings = cargo(target.triple, target.cargo)
    folder = CROSS / platform
    settings["CARGO_TARGET_DIR"] = str(folder / "cargo")
    if target is MINGW:
        settings["CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER"] = target.needs
    else:
        settings["MACOSX_DEPLOYMENT_TARGET"] = "11.0"  # the first for this processor
    command += ["rustc", "--release", "--locked", "--target", target.triple, "--lib", "--crate-type", "cdylib"]
    with sources.stamped(folder, sources.ALL):
        for package, name in LIBRARIES.items():
            library = library_name(name, platform)
            # Or a library for macOS would name itself by the path where it was built.
            named = [] if target is MINGW else ["--", "-C", f"link-arg=-Wl,-install_name,@rpath/{library}"]
            whole = [*command, "--package", package, *named]
            print(*whole, flush=True)
            if subprocess.run(whole, cwd=ROOT, env=os.environ | settings).returncode:
                sys.exit(1)
            shutil.copy2(folder / "cargo" / target.triple / "release" / library, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("platforms", nargs="+", choices=TARGETS)
    for platform in parser.parse_args().platforms:
        build(platform)


if __name__ == "__main__":
    main()
