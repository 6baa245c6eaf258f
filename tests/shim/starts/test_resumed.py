"""Fits that are stopped go on where they were, to the very same result, and leave no half file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lgs


class Stopped(BaseException):
    """As an interrupt is."""


def stop_at(count: int):
    def progress(seen: int) -> None:
        if seen >= count:
            raise Stopped

    return progress


def same(a: lgs.GaussianPrior, b: lgs.GaussianPrior) -> bool:
    return all(getattr(a, name).equal(getattr(b, name)) for name in ("mean", "basis", "variances")) and a.rest == b.rest


@pytest.mark.parametrize("rank", [None, 3])
def test_a_fit_to_pictures(tmp_path, rank):
    batches = torch.randn(60, 2, 5, generator=torch.Generator().manual_seed(0)).split(7)
    file = tmp_path / "unfinished.safetensors"
    whole = lgs.GaussianPrior.fit(batches, rank)

    for stop in (10, 30, 45):
        with pytest.raises(Stopped):
            lgs.GaussianPrior.fit(iter(batches), rank, resume=file, progress=stop_at(stop))
        assert [path.name for path in tmp_path.iterdir()] == [file.name]

    seen: list[int] = []
    resumed = lgs.GaussianPrior.fit(iter(batches), rank, resume=file, progress=seen.append)

    assert same(resumed, whole) and resumed.about == whole.about
    assert seen[-1] == 60 and not list(tmp_path.iterdir())


def denoise(x: Tensor, sigma: Tensor) -> Tensor:
    return x / (1 + sigma[:, None, None] ** 2)


@pytest.mark.parametrize("seeded", [True, False])
def test_a_fit_to_the_model_asks_for_no_evaluation_twice(tmp_path, seeded):
    asked: list[Tensor] = []

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        asked.append(x.clone())
        return denoise(x, sigma)

    def fit(**more) -> lgs.GaussianPrior:
        generator = torch.Generator().manual_seed(5) if seeded else None
        torch.manual_seed(5)
        return lgs.GaussianPrior.from_model(
            counted, (2, 5), 10.0, 4, evaluations=20, batch=6, generator=generator, **more
        )

    whole, points = fit(), torch.cat(asked)
    asked.clear()
    file = tmp_path / "unfinished.safetensors"
    with pytest.raises(Stopped):
        fit(resume=file, progress=stop_at(12))
    resumed = fit(resume=file)

    assert same(resumed, whole)
    assert torch.cat(asked).equal(points)
    assert not list(tmp_path.iterdir())


def test_what_is_left_of_another_fit_is_refused(tmp_path):
    pictures, file = torch.randn(30, 4), tmp_path / "unfinished.safetensors"
    with pytest.raises(Stopped):
        lgs.GaussianPrior.fit(pictures.split(10), 2, resume=file, progress=stop_at(10))

    with pytest.raises(lgs.InvalidArgument, match="rank 3 .it has 2.*delete it to fit from the beginning"):
        lgs.GaussianPrior.fit(pictures, 3, resume=file)
    with pytest.raises(lgs.InvalidArgument, match="pictures of 4 numbers"):
        lgs.GaussianPrior.fit(torch.randn(30, 5), 2, resume=file)
    with pytest.raises(lgs.InvalidArgument, match="fit model"):
        lgs.GaussianPrior.from_model(denoise, (2, 5), 10.0, resume=file)
    with pytest.raises(lgs.InvalidArgument, match="the family 'unfinished'"):
        lgs.starts.load(file)
    file.write_bytes(b"no file of ours")
    with pytest.raises(lgs.InvalidArgument, match="no start that can be used"):
        lgs.GaussianPrior.fit(pictures, 2, resume=file)


def test_the_room_is_there_with_the_package():
    """In a process that has imported nothing else of it."""
    code = "import sys, lgs; assert 'torch' not in sys.modules; print(lgs.starts.load.__name__)"
    folder = str(Path(lgs.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": folder}, capture_output=True, text=True)
    assert done.stdout == "load\n", done.stderr
