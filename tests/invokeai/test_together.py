"""The pack beside another copy of the package, as pip or ComfyUI's pack brings it: one library for both."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from .server import environment_of_its_own

PROGRAM = """
import json, sys
from pathlib import Path
import lgs, torch
from invokeai.app.invocations.load_custom_nodes import load_custom_nodes
from invokeai.backend.util.logging import InvokeAILogger
load_custom_nodes(Path(sys.argv[1]), InvokeAILogger.get_logger())
ours = sys.modules["invokeai-lgs"].lgs

def shrink(x, sigma):
    return x / (1 + sigma[:, None] ** 2)

def told(package):
    samples = package.sample(shrink, torch.ones(1, 8), [5.0, 1.0, 0.0], {"solver": "secant", "eta": 0.0})
    return {"file": package.__file__, "library": package.info()["library"], "samples": samples.tolist()}

print(json.dumps([told(lgs), told(ours)]))
"""


def test_one_library(python: str, pack: Path, tmp_path: Path):
    shutil.copytree(pack, tmp_path / "nodes" / pack.name)
    other = pack.with_name("comfyui-lgs")
    environment = environment_of_its_own() | {"PYTHONPATH": str(other)}
    done = subprocess.run(
        [python, "-c", PROGRAM, str(tmp_path / "nodes")], env=environment, capture_output=True, text=True, check=True
    )
    theirs, ours = json.loads(done.stdout.splitlines()[-1])
    copies = other, tmp_path / "nodes" / pack.name
    assert [theirs["file"], ours["file"]] == [str(copy / "lgs" / "__init__.py") for copy in copies]
    assert theirs["library"] == ours["library"] == str(other / "bin" / "liblgs.so")
    assert theirs["samples"] == ours["samples"]
