"""What a run saved: which of its files are pictures, and whose they are."""

import json

from lgs.batch.run import _graph, same_graph, saved_files

GRAPH = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "a"}}}


def entry(**outputs: dict) -> dict:
    return {"outputs": outputs}


def test_previews_count_where_nothing_is_saved():
    saved = {"filename": "a.png", "type": "output"}
    shown = {"filename": "b.png", "type": "temp"}
    assert saved_files(entry(one={"images": [saved]}, two={"images": [shown]})) == [saved]
    assert saved_files(entry(two={"images": [shown]}, three={"text": ["no picture"]})) == [shown]
    assert saved_files(entry(three={"text": ["no picture"]})) == []


def test_a_graph_is_the_same_whatever_comfyui_notes_beside_it():
    noted = {"1": {**GRAPH["1"], "is_changed": ["x"], "_meta": {"title": "Save"}}}
    other = {"1": {**GRAPH["1"], "inputs": {"filename_prefix": "b"}}}
    assert same_graph(noted, GRAPH) and not same_graph(other, GRAPH)


def test_metadata_of_another_saver_says_nothing():
    assert _graph(json.dumps(GRAPH)) == GRAPH
    for text in (None, "", "a lighthouse, evening", "[1, 2]", '"text"', "{", '{"1": 2}', '{"1": {"inputs": {}}}'):
        assert _graph(text) is None, text
