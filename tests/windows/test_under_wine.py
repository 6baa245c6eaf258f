"""The C validator and a host, for Windows, with PyTorch's own DLLs."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from abi.toolchain import VALIDATOR, compile_c
from validator.faults import LIBRARIES

from lgs import _ffi

from .wine import HERE


def validate(
    wine, programs: Path, torch: Path | None, library: Path, manifest: Path, scratch: Path, *options: str, **more
):
    """The process, and what it wrote as JSON."""
    found = scratch / "found.json"
    found.unlink(missing_ok=True)
    with_torch = [torch / "torch_cpu.dll"] if torch else []
    done = wine.run(
        programs / "lgs-validate.exe",
        *options,
        "--json",
        found,
        "--scratch",
        scratch,
        library,
        manifest,
        *with_torch,
        **more,
    )
    return done, json.loads(found.read_text()) if found.exists() else None


def test_the_validator_passes(wine, programs, torch, binaries, tmp_path):
    done, found = validate(wine, programs, torch, binaries / "lgs.dll", binaries / "engines.json", tmp_path)
    assert done.returncode == 0 and found["passed"], done.stdout + done.stderr
    assert len(found["checks"]) > 30 and sum(check["expectations"] for check in found["checks"]) > 20_000
    assert re.search(rf"^{len(found['checks'])} checks, 0 failed", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "folder", ["with spaces and (brackets)", "Größe 画像 ünï", "/".join(["a folder with a long name"] * 12)]
)
def test_in_a_folder_with_any_name(wine, programs, newest, binaries, tmp_path, folder):
    bin_ = tmp_path / folder / "bin"
    bin_.mkdir(parents=True)
    for name in ("lgs.dll", "lgs_engine-stable.dll", "engines.json"):
        shutil.copy2(binaries / name, bin_)
    done, found = validate(
        wine, programs, newest, bin_ / "lgs.dll", bin_ / "engines.json", tmp_path, "--only", "sample"
    )
    assert done.returncode == 0 and found["passed"], done.stdout + done.stderr
    assert {check["name"] for check in found["checks"]} >= {"sample.closed_form", "sample.every_option"}


@pytest.mark.parametrize("fault", LIBRARIES)
def test_a_broken_library_is_found_out(wine, programs, newest, binaries, tmp_path, fault):
    check = LIBRARIES[fault].in_c
    timeout = "20" if fault == "hangs_on_empty" else "60"
    settings = {"LGS_FAULT": fault, "LGS_TRUE_LIBRARY": f"Z:{binaries / 'lgs.dll'}"}
    settings["LGS_TRUE_MANIFEST"] = f"Z:{binaries / 'engines.json'}"
    options = ("--only", check, "--timeout", timeout)
    library, manifest = programs / "broken.dll", binaries / "engines.json"
    done, found = validate(wine, programs, newest, library, manifest, tmp_path, *options, **settings)
    assert done.returncode == 1, done.stdout + done.stderr
    failed = {check["name"]: check["detail"] for check in found["checks"] if not check["passed"]}
    assert check in failed
    assert ("hung" in failed[check]) is (fault == "hangs_on_empty")
    if fault == "crashes_on_null_error":
        assert re.search("crashed|ended the process", failed[check])


def test_without_torch(wine, programs, binaries, tmp_path):
    done, found = validate(wine, programs, None, binaries / "lgs.dll", binaries / "engines.json", tmp_path)
    assert done.returncode == 0 and found["passed"] and len(found["checks"]) > 10, done.stdout + done.stderr


def test_the_same_numbers_as_on_linux(wine, programs, torch, binaries, stable_alone, tmp_path):
    shared = sorted(file for file in VALIDATOR.glob("*.c") if file.name != "main.c")
    here = tmp_path / "trajectories"
    compile_c("-I", VALIDATOR, "-o", here, HERE / "trajectories.c", *shared, "-lm", "-lpthread", "-ldl")
    [package] = find_spec("torch").submodule_search_locations
    libraries = stable_alone / _ffi.library().file.name, stable_alone / "engines.json"
    command = [here, *libraries, Path(package, "lib", "libtorch_cpu.so")]
    on_linux = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done = wine.run(
        programs / "trajectories.exe", binaries / "lgs.dll", binaries / "engines.json", torch / "torch_cpu.dll"
    )
    assert done.returncode == 0, done.stderr
    on_windows = done.stdout
    lines = list(zip(on_linux.splitlines(), on_windows.splitlines(), strict=True))
    assert len(lines) > 60
    for linux, windows in lines:
        what, _, numbers = linux.rpartition(":")
        assert windows.rpartition(":")[0] == what
        linux_numbers, windows_numbers = (
            [float(n) for n in line.rpartition(":")[2].split()] for line in (linux, windows)
        )
        assert linux_numbers and len(linux_numbers) == len(windows_numbers)
        # A difference of the model is known to eps^(1/2), by two denoisers that agree to eps.
        near = 1e-6 if "difference" in what else 1e-11
        for one, other in zip(linux_numbers, windows_numbers, strict=True):
            assert math.isclose(one, other, rel_tol=near, abs_tol=near), (what, one, other)
