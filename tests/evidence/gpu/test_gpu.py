"""That the GPU script can be trusted where there is no GPU: it runs, says all that it should, and counts right."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from evidence.gpu import unet
from evidence.gpu.denoisers import LatentDiffusion
from evidence.gpu.record import Figure
from evidence.gpu.trace import SYNCHRONIZES, Trace, warned_waits
from evidence.models import PACK

TESTS = Path(__file__).resolve().parents[2]


def run(out: Path, *arguments: str) -> dict:
    """Runs the script as its users do, and gives what it has saved."""
    command = [sys.executable, "-m", "evidence.gpu", "--out", out, "--pack", PACK, *arguments]
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads((out / "gpu.json").read_text())


def test_on_the_cpu_everything_but_placement_is_checked(tmp_path):
    record = run(tmp_path, "--device", "cpu", "--quick")
    assert record["finished"] and record["device"] == "cpu" and record["device_name"] and record["date"]
    assert record["torch"] == torch.__version__ and record["lgs"]["problem"] is None
    skipped = [row for row in record["checks"] if row["status"] == "SKIP"]
    assert len(skipped) == 5 and all("CUDA" in row["message"] for row in skipped)
    assert all(row["status"] == "PASS" for row in record["checks"] if row not in skipped)
    assert all(Figure(**figure).holds for row in record["checks"] for figure in row["figures"].values())
    steps = [row for row in record["timings"] if row.get("what") == "step"]
    told = {(row["model"], row["latent"][0], row["lanczos_steps"], row["jvp"]) for row in steps}
    assert len(told) == 2 * 2 * 2 * 2
    by_differences = [row for row in record["timings"] if row.get("jvp") != "forward"]
    assert all(row["status"] == "PASS" and row["ratio"] > 0 for row in by_differences)
    assert {row["evaluations"] for row in record["timings"] if row["what"] == "trajectory"} == {17}


@pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="needs a CUDA device; there: PYTHONPATH=tests:dist/comfyui-lgs python -m evidence.gpu --out out/gpu",
)
def test_on_the_gpu(tmp_path):
    record = run(tmp_path, "--device", "cuda", "--quick")
    assert record["finished"] and not [row for row in record["checks"] if row["status"] == "FAIL"]


@pytest.mark.parametrize(("config", "millions"), [(unet.SD15, 859.5), (unet.SDXL, 2567.5)])
def test_the_networks_have_the_published_sizes(config, millions):
    with torch.device("meta"):
        network = unet.UNet(config)
        side = 8 * 2 ** (len(config.channels) - 1)
        x, t = torch.empty(2, 4, side, side), torch.empty(2)
        answer = network(x, t, torch.empty(2, 77, config.context), torch.empty(2, config.vector))
    assert answer.shape == x.shape
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(millions * 1e6, rel=0.001)


@pytest.mark.parametrize("config", [unet.SMALL_SD15, unet.SMALL_SDXL])
def test_the_random_networks_are_of_realistic_scale_and_take_several_batches_in_one(config):
    denoise = LatentDiffusion(config, torch.device("cpu"), torch.float32)
    x, sigma = 5 * torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((4,), 5.0)
    eps = (x - denoise(x, sigma)) / 5
    assert 0.2 < eps.std() < 2
    halves = torch.cat([denoise(part, sigma[:2]) for part in x.split(2)])
    torch.testing.assert_close(denoise(x, sigma), halves, rtol=1e-4, atol=1e-4)


def test_noise_levels_become_the_timesteps_that_the_network_was_trained_with():
    denoise = LatentDiffusion(unet.SMALL_SD15, torch.device("cpu"), torch.float32)
    steps = torch.tensor([0, 1, 10, 500, 998, 999])
    torch.testing.assert_close(denoise.timestep(denoise.log_sigmas[steps].exp()), steps.float(), rtol=1e-3, atol=1e-3)
    assert denoise.log_sigmas[[0, -1]].exp().tolist() == pytest.approx([0.0292, 14.61], rel=1e-2)


def test_the_trace_is_read_as_the_profiler_writes_it():
    place = {"device": 0, "context": 1, "stream": 7}
    trace = Trace(
        [
            {"ph": "M", "name": "process_name", "args": {"name": "python"}},
            {"ph": "X", "cat": "kernel", "name": "void at::native::vectorized_elementwise_kernel", "args": place},
            {"ph": "X", "cat": "kernel", "name": "nvjet_tst_64x8", "args": {**place, "stream": 13}},
            {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy DtoH (Device -> Pageable)", "args": place},
            {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pageable -> Device)", "args": place},
            {"ph": "X", "cat": "gpu_memset", "name": "Memset (Device)", "args": place},
            {"ph": "X", "cat": "cuda_runtime", "name": "cudaMemcpyAsync", "args": {}},
            {"ph": "X", "cat": "cuda_runtime", "name": "cudaStreamSynchronize", "args": {}},
            {"ph": "X", "cat": "cpu_op", "name": "aten::_local_scalar_dense", "args": {}},
        ]
    )
    assert (trace.kernels, trace.copies_to_host, trace.waits, trace.items) == (2, 1, 1, 1)
    assert trace.streams == {(0, 7): 4, (0, 13): 1}


def test_warned_waits_are_counted_whoever_warns(monkeypatch):
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)

    def work():
        for _ in range(2):
            warnings.warn(SYNCHRONIZES, stacklevel=1)
        os.write(2, f"[W000 CUDAFunctions.cpp:1] Warning: {SYNCHRONIZES} (function f)\n".encode())

    assert warned_waits(work) == 3
