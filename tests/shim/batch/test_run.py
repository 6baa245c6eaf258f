"""What a run saved: which of its files are pictures, and whose they are."""

import json

from lgs.batch.answers import Entry
from lgs.batch.run import _graph, same_graph

GRAPH = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "a"}}}


def files(**outputs: dict) -> list[str]:
    entry = Entry.model_validate({"prompt": [0, "id", GRAPH], "outputs": outputs})
    return [file.filename for file in entry.files()]


def test_previews_count_where_nothing_is_saved():
    saved = {"filename": "a.png", "type": "output"}
    shown = {"filename": "b.png", "type": "temp"}
    assert files(one={"images": [saved]}, two={"images": [shown]}) == ["a.png"]
    assert files(two={"images": [shown]}, three={"text": ["no picture"]}) == ["b.png"]
    assert files(three={"text": ["no picture"]}) == []


def test_a_graph_is_the_same_whatever_comfyui_notes_beside_it():
    noted = {"1": {**GRAPH["1"], "is_changed": ["x"], "_meta": {"title": "Save"}}}
    other = {"1": {**GRAPH["1"], "inputs": {"filename_prefix": "b"}}}
    assert same_graph(noted, GRAPH) and not same_graph(other, GRAPH)


def test_metadata_of_another_saver_says_nothing():
    assert _graph(json.dumps(GRAPH)) == GRAPH
    for text in (None, "", "a lighthouse, evening", "[1, 2]", '"text"', "{", '{"1": 2}', '{"1": {"inputs": {}}}'):
        assert _graph(text) is None, text
