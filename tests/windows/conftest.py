"""Wine, the programs for it, and PyTorch's DLLs; what is not there skips with what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from abi.toolchain import VALIDATOR

from engine_folders import folder_with, stable
from lgs import _ffi

from .torches import RELEASES, dlls
from .wine import COMPILER, HERE, Wine, compile_for_windows

HOW = "install Wine and mingw-w64 (Debian: wine wine64 gcc-mingw-w64-x86-64-win32) and run `make windows-test`"


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The drop-in folder's libraries, those for Windows among them."""
    folder = _ffi.library().file.parent
    if not (folder / "lgs.dll").exists():
        pytest.skip(f"the drop-in folder has no libraries for Windows: {HOW}")
    return folder


@pytest.fixture(scope="session")
def compiler() -> None:
    if not shutil.which(COMPILER):
        pytest.skip(f"no compiler for Windows: {HOW}")


@pytest.fixture(scope="session")
def wine(tmp_path_factory) -> Iterator[Wine]:
    if not shutil.which("wine"):
        pytest.skip(f"no Wine: {HOW}")
    wine = Wine(tmp_path_factory.mktemp("wine"))
    yield wine
    wine.close()


@pytest.fixture(scope="session", params=RELEASES)
def torch(request) -> Path:
    """The folder of a release's DLLs."""
    if not (dlls(request.param) / "torch_cpu.dll").exists():
        pytest.skip(f"no DLLs of PyTorch {request.param}: {HOW}")
    return dlls(request.param)


@pytest.fixture(scope="session")
def newest() -> Path:
    if not (dlls(RELEASES[-1]) / "torch_cpu.dll").exists():
        pytest.skip(f"no DLLs of PyTorch {RELEASES[-1]}: {HOW}")
    return dlls(RELEASES[-1])


@pytest.fixture(scope="session")
def programs(tmp_path_factory, compiler) -> Path:
    """A folder of the validator, a broken library and what prints trajectories, with a DLL for a Wine that lacks it."""
    folder = tmp_path_factory.mktemp("programs")
    shared = sorted(file for file in VALIDATOR.glob("*.c") if file.name != "main.c")
    compile_for_windows("-o", folder / "lgs-validate.exe", VALIDATOR / "main.c", *shared)
    compile_for_windows("-o", folder / "trajectories.exe", HERE / "trajectories.c", *shared)
    broken = HERE.parent / "validator" / "broken.c"
    compile_for_windows("-shared", "-o", folder / "broken.dll", broken, VALIDATOR / "library.c")
    compile_for_windows("-shared", "-o", folder / "bcryptprimitives.dll", HERE / "bcryptprimitives.c", "-ladvapi32")
    return folder


@pytest.fixture(scope="session")
def stable_alone(tmp_path_factory) -> Path:
    """Libraries of this system, of whose engines there is but the stable one."""
    folder = tmp_path_factory.mktemp("stable")
    shutil.copy2(_ffi.library().file, folder)
    folder_with(folder, [stable()])
    return folder
