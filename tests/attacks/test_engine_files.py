"""Engine manifests, and engines, that are not what they should be: each is refused in words that name the file,
what was expected and what to do, and sampling goes on with the engine that is there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from abi.toolchain import compile_c

import lgs
from engine_folders import BIN, of_this_system, stable
from lgs import _ffi
from lgs._ffi import liblgs
from lgs._ffi.engine import Engine

BUILDS, STABLE = of_this_system(), stable()
PLATFORM = liblgs.platform_name()
SECTION = 'see "An engine for another PyTorch" in README.md'
RELEASE = ".".join(torch.__version__.split(".")[:2])


def this_build() -> dict:
    """An entry for this torch alone: that of the assembled manifest, or one with the stable engine's file."""
    own = [build for build in BUILDS if build["torch"] == RELEASE and "tch" in build]
    build = {"tch": "0.24"} | (own or [STABLE])[0] | {"torch": RELEASE}
    build.pop("and_newer", None)
    return build


def write(folder: Path, text: str | bytes | dict) -> Path:
    file = folder / "engines.json"
    if isinstance(text, dict):
        text = json.dumps(text)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def manifest(folder: Path, **changes) -> Path:
    """An engine manifest with one entry, that of this torch's engine but for `changes`."""
    return write(folder, {"format": 1, "engines": [this_build() | changes]})


def engine_file(folder: Path, content: bytes) -> str:
    """Puts a file where this torch's engine should be; gives its checksum."""
    (folder / this_build()["file"]).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def open_engine(file: Path, torch_version: str = torch.__version__) -> Engine:
    return Engine(_ffi.library(), file, torch_version)


@pytest.fixture(autouse=True)
def sampling_works_afterwards():
    yield
    x = torch.full((2, 3), 2.0, dtype=torch.float64)
    result = lgs.sample(lambda x, sigma: x / 2, x, [1.0, 0.0], lgs.Options(jvp="finite-difference"))
    assert torch.equal(result, x / 2)


def refused(file: Path, *words: str, error=lgs.EngineError, torch_version: str = torch.__version__) -> None:
    with pytest.raises(error) as raised:
        open_engine(file, torch_version)
    message = str(raised.value)
    for word in words:
        assert word in message, message


def test_the_engine_that_is_there_opens():
    assert open_engine(BIN / "engines.json").info()["torch"] == RELEASE


def test_missing(tmp_path):
    file = tmp_path / "engines.json"
    refused(file, str(file), "cannot be read", "unpack the whole plugin folder again", "make build")


def test_a_folder(tmp_path):
    refused(tmp_path, str(tmp_path), "cannot be read", "make build")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"engines"',
        '{"format": 1}',
        '{"engines": []}',
        '{"format": 1, "engines": {}}',
        '{"format": -1, "engines": []}',
        '{"format": 1, "format": 1, "engines": []}',
        '{"format": 1, "engines": []} and more',
        '{"format": 1, "engines": [{"torch": 2.11, "tch": "0.24"}]}',
        '{"format": 1, "engines": [null]}',
        "[" * 100_000,
        b"\xff\xfe\x00",
        b"\x00" * 64,
    ],
    ids=lambda text: repr(text[:40]),
)
def test_malformed(text, tmp_path):
    file = write(tmp_path, text)
    refused(file, str(file), "make build")


def test_another_format(tmp_path):
    file = write(tmp_path, {"format": 2, "engines": []})
    refused(file, str(file), "expected format 1, got 2")


@pytest.mark.parametrize("where", ["top", "build"])
def test_an_unknown_key(where, tmp_path):
    if where == "top":
        file = write(tmp_path, {"format": 1, "engines": [this_build()], "signature": "x"})
    else:
        file = manifest(tmp_path, signature="x")
    refused(file, str(file), "unknown field `signature`", "make build")


def test_a_missing_key(tmp_path):
    build = this_build()
    del build["tch"]
    file = write(tmp_path, {"format": 1, "engines": [build]})
    refused(file, str(file), "missing field `tch`", "make build")


@pytest.mark.parametrize("left_out", ["file", "sha256"])
def test_a_build_without_file_or_checksum(left_out, tmp_path):
    build = this_build()
    del build[left_out]
    file = write(tmp_path, {"format": 1, "engines": [build]})
    refused(file, str(file), f"torch {RELEASE}", "has no file or no sha256", "make build")


def test_no_engine_for_this_torch(tmp_path):
    others = [this_build() | {"torch": "1.13", "tch": "0.9"}, this_build() | {"torch": "1.12", "tch": "0.8"}]
    file = write(tmp_path, {"format": 1, "engines": others})
    platform = this_build()["platform"]
    refused(
        file,
        f"no engine for torch {RELEASE} on {platform}, which is what runs here",
        f"{file} has: torch 1.13 on {platform}, torch 1.12 on {platform}",
        "Install torch 1.13 or 1.12 in the host's environment",
        SECTION,
    )


def test_no_engine_at_all(tmp_path):
    refused(
        write(tmp_path, {"format": 1, "engines": []}),
        f"no engine for torch {RELEASE}",
        "has: none",
        "Build one",
        SECTION,
    )


def test_an_engine_for_another_platform_only(tmp_path):
    other = "windows-x86_64" if this_build()["platform"] != "windows-x86_64" else "linux-x86_64"
    file = manifest(tmp_path, platform=other)
    refused(
        file, f"no engine for torch {RELEASE} on", f"torch {RELEASE} on {other}", "Build one on this system", SECTION
    )
    # The section that is named is there, in the pack's own README and in that of the source.
    title = SECTION.split('"')[1]
    assert f"## {title}\n" in (_ffi.HOME / "README.md").read_text(encoding="utf-8")
    assert title in (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("platform", "engines", "words"),
    [
        (None, True, "Unpack the whole plugin folder again"),
        ("plan9-pdp11", True, "Build it on this system: see"),
        (None, False, "is built for nothing. Unpack"),
    ],
)
def test_the_library_is_missing(platform, engines, words, tmp_path, monkeypatch):
    monkeypatch.setattr(liblgs, "HOME", tmp_path)
    (tmp_path / "bin").mkdir()
    if engines:
        manifest(tmp_path / "bin")
    platform = platform or PLATFORM
    monkeypatch.setattr(liblgs, "platform_name", lambda: platform)
    with pytest.raises(lgs.EngineError) as raised:
        liblgs.Library(tmp_path / "bin" / "liblgs.so")
    message = str(raised.value)
    assert f"This is torch {torch.__version__} on {platform}, and the folder is built for" in message
    assert words in message, message
    if engines:
        assert f"torch {RELEASE} on {this_build()['platform']}" in message


def test_this_system_has_the_manifest_s_name():
    assert liblgs.platform_name() == this_build()["platform"]


def test_the_loaded_torch_counts_for_more_than_the_stated_one():
    assert open_engine(BIN / "engines.json", "1.13.1").info()["torch"] == RELEASE


TWO_LIBTORCHES = """
import ctypes, sys
import torch, lgs
x = torch.ones(1, 4)
assert torch.equal(lgs.sample(lambda x, sigma: x, x, [1.0, 0.0]), x)
ctypes.CDLL(sys.argv[1])
from lgs import _ffi
from lgs._ffi.engine import Engine
try:
    Engine(_ffi.library(), _ffi.HOME / "bin" / "engines.json", torch.__version__)
except lgs.EngineError as problem:
    print(problem)
# What was opened before goes on.
assert torch.equal(lgs.sample(lambda x, sigma: x, x, [1.0, 0.0]), x)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a second libtorch is made with the C compiler of a POSIX system")
def test_two_libtorches_in_one_process(tmp_path):
    name = {"darwin": "libtorch_cpu.dylib"}.get(sys.platform, "libtorch_cpu.so")
    (tmp_path / "empty.c").write_text("int nothing;\n")
    compile_c("-shared", "-fPIC", "-o", tmp_path / name, tmp_path / "empty.c")
    done = subprocess.run([sys.executable, "-c", TWO_LIBTORCHES, tmp_path / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    own = next(Path(path, "lib", name) for path in torch.__path__)
    assert "expected one libtorch in this process, got 2: " in done.stdout
    assert str(own) in done.stdout and str(tmp_path / name) in done.stdout and "start a process" in done.stdout


def test_what_libtorch_was_built_for_is_said():
    info = lgs.info()
    assert Path(info["libtorch"]).parent.parent == Path(torch.__path__[0])
    assert info["backend"] == ("CUDA" if torch.version.cuda else "ROCm" if torch.version.hip else "CPU")


@pytest.mark.parametrize("stated", ["", "newest", "2", "2.x"])
def test_a_stated_torch_that_is_no_version(stated):
    refused(BIN / "engines.json", "torch_version", '"2.11.0"', error=lgs.InvalidArgument, torch_version=stated)


def test_the_engine_is_missing(tmp_path):
    file = manifest(tmp_path)
    refused(file, str(tmp_path / this_build()["file"]), "cannot be read", "unpack the whole plugin folder again")


def test_the_checksum_differs(tmp_path):
    shutil.copy(BIN / this_build()["file"], tmp_path)
    wrong = "0" * 64
    file = manifest(tmp_path, sha256=wrong)
    refused(
        file,
        str(tmp_path / this_build()["file"]),
        f"expected a file with SHA-256 {wrong}",
        f"got {this_build()['sha256']}",
        "unpack the whole plugin folder again",
    )


def test_one_byte_of_the_engine_differs(tmp_path):
    content = bytearray((BIN / this_build()["file"]).read_bytes())
    content[len(content) // 2] ^= 1
    found = engine_file(tmp_path, bytes(content))
    refused(manifest(tmp_path), this_build()["sha256"], found, "damaged or from another build")


NO_LIBRARIES = {"empty": b"", "text": b"not a library\n", "stub": b"\x7fELF" + b"\x00" * 100}


@pytest.mark.parametrize("content", NO_LIBRARIES.values(), ids=NO_LIBRARIES)
def test_a_file_that_is_no_library_with_the_right_checksum(content, tmp_path):
    file = manifest(tmp_path, sha256=engine_file(tmp_path, content))
    refused(file, str(tmp_path / this_build()["file"]), "cannot be loaded", "libtorch")


def test_a_library_that_is_no_engine_with_the_right_checksum(tmp_path):
    file = manifest(tmp_path, sha256=engine_file(tmp_path, _ffi.library().file.read_bytes()))
    refused(file, str(tmp_path / this_build()["file"]), "expected an engine of this plugin, got another library")


def test_an_intact_copy_elsewhere_is_as_good(tmp_path):
    shutil.copy(BIN / this_build()["file"], tmp_path)
    assert open_engine(manifest(tmp_path)).info()["file"] == str(tmp_path / this_build()["file"])


FOREIGN = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) { fputs("foreign code ran\\n", stderr); }
"""

SWAP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Between the check and the loading, as close as can be: the checked file is no longer the one of its name. */
void *dlopen(const char *name, int flags) {
    const char *engine = getenv("ENGINE"), *foreign = getenv("FOREIGN");
    if (name && (strcmp(name, engine) == 0 || strncmp(name, "/proc/self/fd/", 14) == 0) && rename(foreign, engine) == 0)
        fputs("swapped\\n", stderr);
    return ((void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen"))(name, flags);
}
"""

OPEN = """
import sys, torch
from pathlib import Path
from lgs import _ffi
from lgs._ffi.engine import Engine

print(Engine(_ffi.library(), Path(sys.argv[1]), torch.__version__).info()["torch"])
"""


def compiled(folder: Path, name: str, source: str) -> Path:
    (folder / f"{name}.c").write_text(source)
    library = folder / f"{name}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / f"{name}.c", "-ldl"], check=True)
    return library


@pytest.mark.skipif(sys.platform != "linux", reason="hooks the loader as Linux lets one; run it there")
def test_what_is_loaded_is_what_was_checked(tmp_path):
    engine = Path(shutil.copy(BIN / this_build()["file"], tmp_path))
    file, foreign = manifest(tmp_path), compiled(tmp_path, "foreign", FOREIGN)
    swap = compiled(tmp_path, "swap", SWAP)
    names = {"LD_PRELOAD": str(swap), "ENGINE": str(engine), "FOREIGN": str(foreign)}
    run = subprocess.run(
        [sys.executable, "-c", OPEN, file], env=os.environ | names, capture_output=True, text=True, timeout=120
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{RELEASE}\n", "swapped\n")
    assert engine.read_bytes().count(b"foreign code ran") == 1, "not swapped"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes; run it on Linux")
@pytest.mark.parametrize("which", ["manifest", "engine"])
@pytest.mark.parametrize("kind", ["fifo", "zero", "folder", "large"])
def test_what_has_no_end_or_is_too_large_is_refused_at_once(which, kind, tmp_path):
    file = tmp_path / "engines.json"
    odd = file if which == "manifest" else tmp_path / this_build()["file"]
    if which == "engine":
        manifest(tmp_path)
    if kind == "fifo":
        os.mkfifo(odd)
    elif kind == "zero":
        odd.symlink_to("/dev/zero")
    elif kind == "folder":
        odd.mkdir()
    else:
        with odd.open("wb") as sparse:
            sparse.truncate(1 << 30)
    words = {"large": "bytes, got 1073741824", "folder": "expected a file, got a folder"}
    refused(file, str(odd), "cannot be read", words.get(kind, "expected a file, got a pipe, a socket or a device"))


@pytest.mark.parametrize("where", ["../{name}", "{folder}/{name}"])
def test_an_engine_outside_the_manifest_s_folder(where, tmp_path):
    name = this_build()["file"]
    shutil.copy(BIN / name, tmp_path)
    inner = tmp_path / "inner"
    inner.mkdir()
    file = manifest(inner, file=where.format(folder=tmp_path, name=name))
    refused(file, str(file), "the name of a file in this folder", "make build")
