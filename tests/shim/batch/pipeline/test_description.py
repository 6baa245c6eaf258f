"""Files that describe a pipeline and its call: as graphs, with the settings of workflows; and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lgs.batch.command import main
from lgs.batch.errors import BatchError
from lgs.batch.pipeline.description import is_description, read_description
from lgs.batch.plan import jobs, read_axis

WHOLE = {"pipeline": {"folder": "sdxl"}, "call": {"prompt": "a lighthouse", "seed": 3}, "options": {"eta": 0.5}}


def test_it_has_settings_and_ids_as_workflows_do(tmp_path: Path):
    graph = read_description(tmp_path / "pipeline.json", WHOLE)
    assert graph["pipeline"]["inputs"] == {"folder": str(tmp_path / "sdxl"), "dtype": "float32", "device": "auto"}
    axes = [read_axis(graph, {}, text) for text in ("seed=1..3", "options.eta=0,1")]
    made = jobs(graph, axes)
    assert [(job.graph["call"]["inputs"]["seed"], job.graph["options"]["inputs"]["eta"]) for job in made] == [
        (seed, eta) for seed in (1, 2, 3) for eta in (0, 1)
    ]
    assert len({job.id for job in made}) == 6
    assert [job.seed for job in made] == [1, 1, 2, 2, 3, 3]


def test_a_seed_is_always_there_to_be_set(tmp_path: Path):
    graph = read_description(tmp_path / "pipeline.json", {"pipeline": {"folder": "/x"}, "call": {"prompt": "a"}})
    assert graph["call"]["inputs"] == {"prompt": "a", "seed": 0} and graph["pipeline"]["inputs"]["folder"] == "/x"


@pytest.mark.parametrize("content", [None, 3, [], {}, {"1": {"class_type": "KSampler", "inputs": {}}}])
def test_other_files_are_none(content: object):
    assert not is_description(content)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"pipeline": "sdxl"}, "in which pipeline is wrong"),
        ({"pipeline": {}}, "pipeline.folder is wrong: Field required"),
        ({"pipeline": {"folder": "a", "dtype": "int8"}}, "pipeline.dtype is wrong.*float16.*got 'int8'"),
        ({"pipeline": {"folder": "a", "token": "b"}}, "pipeline.token is wrong: Extra inputs are not permitted"),
        ({"call": []}, "in which call is wrong"),
        ({"call": {}}, "in which call is wrong"),
        ({"call": {"seed": "7"}}, "call.seed: expected a whole number, got '7'"),
        ({"call": {"seed": True}}, "call.seed: expected a whole number, got True"),
        ({"options": [1]}, "in which options is wrong"),
        ({"steps": 3}, "steps is wrong: Extra inputs are not permitted, got 3. Give "),
    ],
)
def test_wrong_descriptions(tmp_path: Path, changed: dict, words: str):
    with pytest.raises(BatchError, match=words):
        read_description(tmp_path / "pipeline.json", json.loads(json.dumps(WHOLE | changed)))


def test_it_has_no_comfyui(tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps(WHOLE))
    with pytest.raises(SystemExit):
        main([str(file), "--out", str(tmp_path / "out"), "--server", "127.0.0.1:8188"], "lgs batch")
    assert "a pipeline runs without ComfyUI" in capsys.readouterr().err
