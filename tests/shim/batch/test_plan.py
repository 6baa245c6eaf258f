"""Which jobs a workflow and settings make; every other input is an error that says what is wrong."""

import json
from pathlib import Path

import pytest

from lgs.batch.errors import BatchError
from lgs.batch.plan import Graph, jobs, read_axis, read_workflow, titles

GRAPH: Graph = {
    "1": {"class_type": "Noise", "inputs": {"seed": 0}},
    "2": {"class_type": "Sampler", "inputs": {"steps": 4, "name": "euler", "noise": ["1", 0], "cfg": 1.5}},
    "3:1": {"class_type": "Text", "inputs": {"text": "7", "seed": 1}},
}
SCHEMAS = {"Sampler": {"input": {"required": {"steps": ["INT"]}, "optional": {"eta": ["FLOAT"]}}}}


@pytest.mark.parametrize(
    ("text", "node", "entry", "values"),
    [
        ("steps=1..4", "2", "steps", (1, 2, 3, 4)),
        ("steps=-1..1", "2", "steps", (-1, 0, 1)),
        ("name=euler,heun", "2", "name", ("euler", "heun")),
        ("cfg=1,2.5", "2", "cfg", (1, 2.5)),
        ("eta=0.5", "2", "eta", (0.5,)),
        ("text=7,1..9", "3:1", "text", ("7", "1..9")),
        ('text=["a, b", "c=d"]', "3:1", "text", ("a, b", "c=d")),
        ("1.seed=5", "1", "seed", (5,)),
        ("Text.seed=5", "3:1", "seed", (5,)),
        ("3:1.seed=5", "3:1", "seed", (5,)),
    ],
)
def test_axis(text: str, node: str, entry: str, values: tuple):
    axis = read_axis(GRAPH, SCHEMAS, text)
    assert (axis.node, axis.input, axis.values) == (node, entry, values)
    assert [type(value) for value in axis.values] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps", "expected NAME=VALUES"),
        ("=3", "expected NAME=VALUES"),
        ("seed=1", r"1\.seed \(Noise\), 3:1\.seed \(Text\)"),
        ("stepz=1", "Did you mean steps[?] The inputs are cfg, eta, name"),
        ("nope=1", "The inputs are cfg"),
        ("7.steps=1", "expected a node of the workflow, got '7'"),
        ("2.seed=1", "expected an input of a node"),
        ("noise=1", r"wired to node 1 \(Noise\)"),
        ("steps=4..1", "last not below first"),
        ("steps=1..99999999999", "at most"),
        ("steps=four", "expected values like 4"),
        ("steps=1,,2", "expected values like 4"),
        ("steps=1,2,1", "each value once"),
        ("text=[1", "expected a JSON list"),
        ("text=[]", "expected a list"),
        ('text=[["a"]]', "expected a list"),
    ],
)
def test_wrong_axis(text: str, words: str):
    with pytest.raises(BatchError, match=words):
        read_axis(GRAPH, SCHEMAS, text)


def test_jobs_are_the_grid_with_the_last_axis_fastest():
    axes = [read_axis(GRAPH, SCHEMAS, text) for text in ("1.seed=1,2", "name=euler,heun")]
    made = jobs(GRAPH, axes)
    assert [tuple(job.settings.values()) for job in made] == [(1, "euler"), (1, "heun"), (2, "euler"), (2, "heun")]
    assert [job.number for job in made] == [1, 2, 3, 4]
    assert made[1].graph["2"]["inputs"] == GRAPH["2"]["inputs"] | {"name": "heun"}
    assert GRAPH["1"]["inputs"]["seed"] == 0, "the workflow itself stays as it is"


def test_id_follows_from_the_graph_and_from_nothing_else():
    one, two = jobs(GRAPH, [read_axis(GRAPH, SCHEMAS, "1.seed=1,2")])
    (turned,) = jobs(json.loads(json.dumps(dict(reversed(GRAPH.items())))), [read_axis(GRAPH, SCHEMAS, "1.seed=2")])
    assert one.id != two.id == turned.id


ONE_SEED: Graph = {n: node for n, node in GRAPH.items() if n != "3:1"}


@pytest.mark.parametrize(
    ("graph", "settings", "names", "seeds"),
    [
        (GRAPH, ["1.seed=7,12"], ["seed=0007", "seed=0012"], [7, 12]),
        (GRAPH, ["name=euler,heun", "1.seed=7"], ["name=euler_seed=0007", "name=heun_seed=0007"], [7, 7]),
        (GRAPH, ["2.name=euler,heun"], ["name=euler", "name=heun"], [None, None]),
        (ONE_SEED, ["name=euler,heun"], ["name=euler_seed=0000", "name=heun_seed=0000"], [0, 0]),
        (ONE_SEED, ["steps=5"], ["seed=0000"], [0]),
        (GRAPH, [], ["picture"], [None]),
        (GRAPH, ["1.seed=1,2", "Text.seed=3"], ["seed=0001", "seed=0002"], [None, None]),
        (
            GRAPH,
            ["1.seed=1,2", "Text.seed=3,4"],
            [f"1.seed={a}_Text.seed={b}" for a in (1, 2) for b in (3, 4)],
            4 * [None],
        ),
        ({"1": {"class_type": "Noise", "inputs": {"noise_seed": ["2", 0]}}}, [], ["picture"], [None]),
        ({"1": {"class_type": "Noise", "inputs": {"seed": True}}}, [], ["picture"], [None]),
        ({"1": {"class_type": "Noise", "inputs": {"noise_seed": 2**64 - 1}}}, [], [f"seed={2**64 - 1}"], [2**64 - 1]),
        ({"1": {"class_type": "Noise", "inputs": {"noise_seed": 10**4000}}}, [], ["picture"], [None]),
    ],
)
def test_names_and_seeds(graph: Graph, settings: list[str], names: list[str], seeds: list):
    made = jobs(graph, [read_axis(graph, SCHEMAS, text) for text in settings])
    assert [job.name for job in made] == names
    assert [job.seed for job in made] == seeds


def test_what_axes_are_called():
    both = [read_axis(GRAPH, SCHEMAS, text) for text in ("1.seed=1,2", "2.name=euler,heun", "cfg=3")]
    assert titles(GRAPH, both) == ["seed", "name"]


def test_an_input_set_twice_is_refused():
    axes = [read_axis(GRAPH, SCHEMAS, text) for text in ("1.seed=1", "Noise.seed=2")]
    with pytest.raises(BatchError, match="each input once"):
        jobs(GRAPH, axes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "an object of nodes"),
        ("{}", "an object of nodes"),
        ('{"nodes": [], "links": []}', "saved for the editor"),
        ('{"1": {"inputs": {}}}', "node '1': expected \"class_type\""),
        ('{"1": {"class_type": "A"}}', "node '1'"),
        ('{"1": 2}', "node '1'"),
    ],
)
def test_wrong_workflow(tmp_path: Path, content: str, words: str):
    file = tmp_path / "workflow.json"
    file.write_text(content)
    with pytest.raises(BatchError, match=words):
        read_workflow(file)


def test_workflow_that_is_not_there(tmp_path: Path):
    with pytest.raises(BatchError, match="cannot be read"):
        read_workflow(tmp_path / "workflow.json")
