"""Batches of a pipeline: its pictures are those that it draws itself, with Ray and without."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from PIL import Image

from lgs.batch.command import main
from lgs.batch.pipeline.worker import METADATA
from lgs.diffusers import LGSScheduler

from . import tiny

CALL = {"prompt": "a lighthouse", "num_inference_steps": 3, "height": 32, "width": 32, "seed": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    tiny.stable_diffusion(StableDiffusionPipeline).save_pretrained(folder)
    return folder


@pytest.fixture
def file(tmp_path: Path, folder: Path) -> Path:
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps({"pipeline": {"folder": str(folder)}, "call": CALL}))
    return file


GRID = ("--set", "seed=1..3", "--set", "options.eta=0,0.5")


def pictures(out: Path) -> dict[str, bytes]:
    return {picture.name: picture.read_bytes() for picture in out.glob("pictures/*")}


def test_pictures_are_those_of_the_pipeline(file: Path, folder: Path, tmp_path: Path):
    assert main([str(file), "--out", str(tmp_path / "out"), *GRID], "lgs batch") == 0
    made = pictures(tmp_path / "out")
    assert len(made) == len(set(made.values())) == 6
    pipeline = DiffusionPipeline.from_pretrained(folder)
    config = pipeline.scheduler.config
    for content in made.values():
        picture = Image.open(io.BytesIO(content))
        asked = json.loads(picture.text[METADATA])
        pipeline.scheduler = LGSScheduler.from_config(config, options=asked["options"])
        call = asked["call"]
        generator = torch.Generator().manual_seed(call.pop("seed"))
        assert picture.tobytes() == pipeline(**call, generator=generator).images[0].tobytes()
    assert main([str(file), "--out", str(tmp_path / "out"), *GRID], "lgs batch") == 0
    assert pictures(tmp_path / "out") == made


def test_on_ray_they_are_the_same(file: Path, tmp_path: Path):
    pytest.importorskip("ray", reason="to run this, install Ray: pip install ray==2.60.0")
    assert main([str(file), "--out", str(tmp_path / "one"), *GRID], "lgs batch") == 0
    assert main([str(file), "--out", str(tmp_path / "two"), *GRID, "--ray", "--workers", "2"], "lgs batch") == 0
    assert pictures(tmp_path / "one") == pictures(tmp_path / "two")


def test_what_it_refuses_is_set_aside_and_named(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main([str(file), "--out", str(tmp_path / "out"), "--set", "height=32,33"], "lgs batch") == 1
    said = capsys.readouterr()
    assert "1 pictures of 1 of 2 jobs" in said.out
    assert "job 2 (height = 33): expected the pipeline to run it, got ValueError: `height` and `width`" in said.err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("promt=a,b", "Did you mean prompt"),
        ("generator=1", "got a name that none has"),
        ("eta=0,1", "Say call.eta (call), options.eta (options)"),
        ("options.nonesuch=1", "got a name that none has"),
    ],
)
def test_wrong_settings(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture, setting: str, words: str):
    assert main([str(file), "--out", str(tmp_path / "out"), "--set", setting], "lgs batch") == 1
    assert words in capsys.readouterr().err


def test_a_folder_without_a_pipeline(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    file.write_text(json.dumps({"pipeline": {"folder": "nowhere"}, "call": CALL}))
    assert main([str(file), "--out", str(tmp_path / "out")], "lgs batch") == 1
    assert f"expected a pipeline in {tmp_path / 'nowhere'}" in capsys.readouterr().err
