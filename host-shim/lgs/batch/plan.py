"""The workflow, the settings, and the jobs that they make."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import hashlib
import itertools
import json
import re
from pathlib import Path

from .errors import BatchError
from .names import LONGEST_NUMBER, Names
from .untrusted import decoded

Graph = dict[str, dict]
"""A workflow in ComfyUI's API format: {node id: {"class_type", "inputs"}}."""

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
MOST_JOBS = 1_000_000
SEED_INPUTS = ("seed", "noise_seed")
SEED = "seed"
"""What a picture's seed is called, whatever its node calls it."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One input of one node, and the values that it takes."""

    label: str
    """What the user called it; heads its column of the table."""
    node: str
    input: str
    values: tuple

    @property
    def differs(self) -> bool:
        """Whether it tells pictures apart."""
        return len(self.values) > 1


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of the workflow."""

    number: int
    """From 1, in the order of the settings."""
    settings: dict
    """{label of an axis: value}."""
    graph: Graph
    name: str = ""
    """For file names: see `names`. Jobs of different plans may have the same; without one the id stands in."""
    seed: int | None = None
    """Where the plan or the workflow has a single one."""

    @property
    def id(self) -> str:
        """Follows from the graph alone, so the same workflow and settings are the same job in any run."""
        canonical = json.dumps(self.graph, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:20]

    def __str__(self) -> str:
        return ", ".join(f"{label} = {value}" for label, value in self.settings.items()) or "the workflow as it is"


def read_workflow(path: Path) -> Graph:
    """The workflow of a file. Raises BatchError for anything but API format."""
    try:
        graph = decoded(path.read_bytes())
    except OSError as error:
        raise BatchError(f"{path}: expected a workflow, and it cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise BatchError(
            f"{path}: expected a workflow in API format, got a file that is not JSON, or no graph: {error}."
        ) from error
    how = "In ComfyUI choose Workflow > Export (API)."
    if isinstance(graph, dict) and isinstance(graph.get("nodes"), list):
        raise BatchError(f"{path}: expected a workflow in API format, got one that was saved for the editor. {how}")
    if not isinstance(graph, dict) or not graph:
        raise BatchError(f"{path}: expected a workflow in API format, an object of nodes, got something else. {how}")
    for node_id, node in graph.items():
        whole = isinstance(node, dict) and isinstance(node.get("class_type"), str)
        if not whole or not isinstance(node.get("inputs"), dict):
            raise BatchError(f'{path}: node {node_id!r}: expected "class_type" and "inputs", got {node!r:.80}. {how}')
    return graph


def read_axis(graph: Graph, schemas: dict[str, dict], text: str) -> Axis:
    """The axis of a setting ``NAME=VALUES``, as the command line has it.

    NAME is the name of an input, or ``NODE.input`` with the node's id or class where several have it. VALUES is
    ``1..60``, a comma-separated list, or a JSON list (for texts that hold commas). ``schemas`` is what ComfyUI's
    /object_info says of the classes in the graph: an optional input need not be in the graph to be set.
    """
    name, equals, values = text.partition("=")
    if not equals or not name or not values:
        raise BatchError(
            f"--set {text}: expected NAME=VALUES, such as noise_seed=1..60 or covariance=lanczos,isotropic."
        )
    node, entry = _find(graph, schemas, name)
    before = graph[node]["inputs"].get(entry)
    if isinstance(before, list):
        raise BatchError(
            f"--set {name}: expected an input with a value of its own, got one that is wired to node {before[0]} "
            f"({graph.get(str(before[0]), {}).get('class_type', 'which is missing')}). Set an input of that node."
        )
    given = _values(name, values, before)
    if len(set(map(json.dumps, given))) < len(given):
        raise BatchError(f"--set {text}: expected each value once, got one twice: its picture would be made twice.")
    return Axis(name, node, entry, tuple(given))


def jobs(graph: Graph, axes: list[Axis]) -> list[Job]:
    """Every combination of the axes' values, the last axis fastest."""
    count = 1
    for axis in axes:
        count *= len(axis.values)
        if [(a.node, a.input) for a in axes].count((axis.node, axis.input)) > 1:
            raise BatchError(
                f"--set {axis.label}: expected each input once, got it twice. Join the two lists of values."
            )
    if count > MOST_JOBS:
        raise BatchError(f"expected at most {MOST_JOBS} combinations of settings, got {count}. Give fewer values.")
    differing = [position for position, axis in enumerate(axes) if axis.differs]
    seeded = seed_input(graph, axes)
    titled = [(title, axes[position].values) for title, position in zip(titles(graph, axes), differing, strict=True)]
    names = Names(titled, SEED)
    seed_differs = seeded in [(axes[position].node, axes[position].input) for position in differing]
    made = []
    for number, chosen in enumerate(itertools.product(*(range(len(axis.values)) for axis in axes)), start=1):
        values = [axis.values[at] for axis, at in zip(axes, chosen, strict=True)]
        changed = copy.deepcopy(graph)
        for axis, value in zip(axes, values, strict=True):
            changed[axis.node]["inputs"][axis.input] = value
        seed = _seed(changed, seeded)
        name = names.of([chosen[position] for position in differing], None if seed_differs else seed)
        settings = {axis.label: value for axis, value in zip(axes, values, strict=True)}
        made.append(Job(number, settings, changed, name, seed))
    return made


def titles(graph: Graph, axes: list[Axis]) -> list[str]:
    """What to call each axis that differs: its input's name where that says which, "seed" for the only seed."""
    differing = [axis for axis in axes if axis.differs]
    inputs = [axis.input for axis in differing]
    seeded = seed_input(graph, axes)
    return [
        SEED if (axis.node, axis.input) == seeded else axis.input if inputs.count(axis.input) == 1 else axis.label
        for axis in differing
    ]


def seed_input(graph: Graph, axes: list[Axis]) -> tuple[str, str] | None:
    """The (node, input) that is the seed: the only such axis, or, without any, the workflow's only one."""
    found = [(axis.node, axis.input) for axis in axes if axis.input in SEED_INPUTS]
    found = found or [(node, name) for node in graph for name in SEED_INPUTS if _seed(graph, (node, name)) is not None]
    return found[0] if len(found) == 1 else None


def _seed(graph: Graph, place: tuple[str, str] | None) -> int | None:
    """The number at an input, if it is a seed: not a wire, nor a text."""
    value = None if place is None else graph[place[0]]["inputs"].get(place[1])
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and abs(value) < 10**LONGEST_NUMBER else None


def _find(graph: Graph, schemas: dict[str, dict], name: str) -> tuple[str, str]:
    """The one (node id, input) that a name means."""
    known = {node: _inputs(graph, schemas, node) for node in graph}
    node_part, dot, input_part = name.partition(".")
    found = [(node, name) for node, inputs in known.items() if name in inputs]
    if not found and dot:
        nodes = [n for n in graph if node_part in (n, graph[n]["class_type"])]
        if not nodes:
            listed = ", ".join(f"{n} ({graph[n]['class_type']})" for n in graph)
            raise BatchError(f"--set {name}: expected a node of the workflow, got {node_part!r}. It has {listed}.")
        found = [(node, input_part) for node in nodes if input_part in known[node]]
    if not found:
        every = sorted({entry for inputs in known.values() for entry in inputs})
        near = difflib.get_close_matches(input_part if dot else name, every, n=3)
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        raise BatchError(
            f"--set {name}: expected an input of a node of the workflow, got a name that none has; ComfyUI would "
            f"ignore it silently. {meant}The inputs are {', '.join(every)}."
        )
    if len(found) > 1:
        ways = ", ".join(f"{node}.{entry} ({graph[node]['class_type']})" for node, entry in found)
        raise BatchError(f"--set {name}: expected an input that one node has, got one that several have. Say {ways}.")
    return found[0]


def _inputs(graph: Graph, schemas: dict[str, dict], node: str) -> set[str]:
    groups = schemas.get(graph[node]["class_type"], {}).get("input", {})
    return set(graph[node]["inputs"]) | {name for group in ("required", "optional") for name in groups.get(group) or {}}


def _values(name: str, text: str, before: object) -> list:
    """The values that a text lists, of the type of the one ``before``: "7" is a text where that is a text."""
    if text.startswith("["):
        try:
            listed = decoded(text)
        except ValueError as error:
            raise BatchError(f"--set {name}: expected a JSON list, got {text!r}: {error}.") from error
        if not listed or any(isinstance(value, list | dict) for value in listed):
            raise BatchError(f"--set {name}: expected a list of numbers, texts or truth values, got {text!r}.")
        return listed
    span = RANGE.fullmatch(text)
    if span and not isinstance(before, str):
        first, last = map(int, span.groups())
        if last < first or last - first >= MOST_JOBS:
            raise BatchError(
                f"--set {name}: expected first..last with last not below first and at most {MOST_JOBS} values, got "
                f"{text}."
            )
        return list(range(first, last + 1))
    parts = text.split(",")
    return parts if isinstance(before, str) else [_value(name, part, before) for part in parts]


def _value(name: str, text: str, before: object) -> object:
    try:
        return json.loads(text)
    except ValueError:
        if before is None:  # an input that the workflow leaves to its default: ComfyUI checks the type
            return text
        raise BatchError(
            f"--set {name}: expected values like {json.dumps(before)}, which is what the workflow has, got {text!r}."
        ) from None
