"""The wheel: what is in it, and what it is like once pip has installed it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from lgs import _ffi

from .conftest import ROOT, Environment

PROJECT = tomllib.loads((ROOT / "host-shim" / "pip" / "pyproject.toml").read_text(encoding="utf-8"))["project"]

DENOISE = """
import torch
noise, sigmas = torch.randn(2, 3, 8, 8), torch.tensor([10.0, 3.0, 1.0, 0.3, 0.0])
x, sigma, v, z = 3 * noise, 3.0, torch.ones_like(noise), torch.randn_like(noise)
latents = torch.randn(50, 3, 8, 8)
def denoise(x, sigma):
    return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2)
"""
"""What README's lines take for granted."""


def test_it_is_for_any_python_and_this_system(wheel: Path):
    name, version, *tags = wheel.stem.split("-")
    assert (name, version, tags[:2]) == ("lgs_sampler", PROJECT["version"], ["py3", "none"])
    system = {"linux": r"manylinux_2_\d+_x86_64(\.manylinux.*)?", "windows": "win_amd64", "macos": r"macosx_11_0_arm64"}
    assert re.fullmatch(system[_ffi.liblgs.platform_name().split("-")[0]], tags[2])


def test_its_version_is_the_library_s():
    assert PROJECT["version"] == _ffi.library().version


def test_what_is_in_it(wheel: Path):
    """The package, its libraries and manifests, and licences: no node, no model, no test."""
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        engines = json.loads(opened.read("lgs/bin/engines.json"))["engines"]
        for engine in engines:
            assert engine["platform"] == _ffi.liblgs.platform_name()
            assert hashlib.sha256(opened.read(f"lgs/bin/{engine['file']}")).hexdigest() == engine["sha256"]
    assert engines and {"lgs/py.typed", "lgs/manifests/nodes.json", "lgs/starts/command.py"} <= names
    information = [name for name in names if ".dist-info/" in name]
    assert {name.split("/")[0] for name in names if name not in information} == {"lgs"}
    assert {"LICENSE-MIT", "LICENSE-APACHE"} <= {name.rsplit("/", 1)[1] for name in information}
    assert not [name for name in names if name.endswith((".pyc", ".safetensors"))]
    binaries = {name for name in names if name.startswith("lgs/bin/") and name != "lgs/bin/"}
    library = "lgs/bin/" + Path(_ffi.library().file).name
    assert binaries == {library, "lgs/bin/engines.json", *(f"lgs/bin/{engine['file']}" for engine in engines)}


def test_info(environment: Environment):
    done = environment.run(environment.command, "info")
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["problem"] is None and answer["engine"]
    assert Path(answer["library"]).parent == environment.packages / "lgs" / "bin"


def test_its_help_names_itself(environment: Environment):
    done = environment.run(environment.command, "--help")
    assert "usage: lgs [-h] {info,batch,validate,fit}" in " ".join(done.stdout.split())
    assert "lgs batch workflow.json --out" in environment.run(environment.command, "batch", "--help").stdout


def test_the_lines_of_the_readme(environment: Environment):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [lines] = re.findall(r"## In Python\n\n```python\n(.*?)```", readme, re.DOTALL)
    check = "\nassert samples.isfinite().all() and product.shape == v.shape and len(record.steps) == 4\n"
    done = environment.run(environment.python, "-c", DENOISE + lines + check)
    assert done.returncode == 0, done.stderr
    assert "'problem': None" in done.stdout


def test_the_lines_of_its_own_readme(environment: Environment):
    readme = (ROOT / "host-shim" / "pip" / "README.md").read_text(encoding="utf-8")
    [lines] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    done = environment.run(environment.python, "-c", DENOISE + lines + "\nassert samples.isfinite().all()\n")
    assert done.returncode == 0, done.stderr


def test_it_passes_what_is_promised(environment: Environment):
    done = environment.run(environment.command, "validate", "--only", "sample.")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    sample.closed_form" in done.stdout


def test_the_public_api_is_typed(environment: Environment):
    """Every name of it, as pyright sees it from outside; not the commands, nor networks' layers."""
    command = ["pyright", "--verifytypes", "lgs", "--ignoreexternal", "--outputjson"]
    done = environment.run(sys.executable, "-m", *command)
    told = json.loads(done.stdout)["typeCompleteness"]
    assert told["pyTypedPath"] == str(environment.packages / "lgs" / "py.typed")
    api = re.compile(r"lgs(\.starts)?(\.[A-Za-z]\w*)?|lgs\.(options|sampling|record|errors|installation)\..*")
    symbols = [symbol for symbol in told["symbols"] if symbol["isExported"] and api.fullmatch(symbol["name"])]
    assert {"lgs.sample", "lgs.Options", "lgs.starts.MixturePrior"} <= {symbol["name"] for symbol in symbols}
    # What is ambiguous follows from a network's layers, which torch's own modules do not annotate either.
    assert not [symbol["name"] for symbol in symbols if not (symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])]


def test_nothing_is_written_anywhere(wheel: Path, tmp_path: Path):
    """But for a folder among the temporary files: PyTorch makes it when it first differentiates a quotient in forward
    mode."""
    environment = Environment(tmp_path, wheel)
    before = environment.files()
    environment.run(environment.command, "info", check=True)
    environment.run(environment.python, "-c", DENOISE + "import lgs; lgs.sample(denoise, x, sigmas)", check=True)
    changed = environment.files() ^ before
    assert not {file for file in changed if not file.startswith(f"{environment.home / 'torchinductor_'}")}


def test_without_a_library_it_says_how_to_install_it_again(wheel: Path, tmp_path: Path):
    environment = Environment(tmp_path, wheel)
    for file in (environment.packages / "lgs" / "bin").glob("*lgs.*"):
        file.unlink()
    done = environment.run(environment.command, "info")
    assert done.returncode == 1 and "pip install --force-reinstall lgs-sampler" in json.loads(done.stdout)["problem"]


BOTH = """
import importlib.util, sys, threading
import torch

def of_the_pack():
    spec = importlib.util.spec_from_file_location("lgs_of_the_pack", sys.argv[1] + "/lgs/__init__.py")
    sys.modules["lgs_of_the_pack"] = found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found

def installed():
    import lgs
    return lgs

first, second = (globals()[name]() for name in sys.argv[2:])
assert first.__file__ != second.__file__
x = torch.randn(2, 16, dtype=torch.float64)
made = [copy.sample(lambda x, sigma: x / 2, x, [2.0, 1.0, 0.5, 0.0], {"jvp": "forward"}, noise=lambda *_: x)
        for copy in (first, second)]
assert torch.equal(*made)
print(first.info()["library"], second.info()["library"], sep="\\n")

# Forward mode has one level a process: each waits for the other.
def many(copy, failed):
    try:
        for _ in range(50):
            copy.jvp(lambda x, sigma: x**2, x, 1.0, x, {"jvp": "forward"})
    except Exception as problem:
        failed.append(problem)

failed = []
threads = [threading.Thread(target=many, args=(copy, failed)) for copy in (first, second)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failed, failed
"""


@pytest.mark.parametrize("order", [("installed", "of_the_pack"), ("of_the_pack", "installed")], ids=lambda o: o[0])
def test_with_the_pack_in_one_process_there_is_one_library(environment: Environment, order: tuple[str, str]):
    pack = _ffi.HOME
    done = environment.run(environment.python, "-c", BOTH, pack, *order)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split()
    assert first == second
    assert Path(first).is_relative_to(environment.packages if order[0] == "installed" else pack)


def test_with_another_build_each_has_its_own(environment: Environment, tmp_path: Path):
    """A pack of another release: its library is another file, and so is what is used."""
    pack = Path(shutil.copytree(_ffi.HOME, tmp_path / "pack"))
    library = pack / "bin" / _ffi.library().file.name
    library.write_bytes(library.read_bytes() + b"another build")
    done = environment.run(environment.python, "-c", BOTH, pack, "installed", "of_the_pack")
    assert done.returncode == 0, done.stderr
    first, second = map(Path, done.stdout.split())
    assert first.is_relative_to(environment.packages) and second == library
