"""What ComfyUI answers, field by field as it is used here: anything else is no answer of ComfyUI's.

Fields that are not named are ignored: versions differ.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from .plan import Graph


class Answer(BaseModel):
    """Of types as they are, not as they could be read: a number is no text."""

    model_config = ConfigDict(strict=True)


def _none_as_empty(value: Any) -> Any:
    """ComfyUI leaves out, or writes null or an empty list, where an object would be empty."""
    return {} if value is None or value == [] else value


class SystemStats(Answer):
    """Of /system_stats."""

    system: dict[str, Any]

    @property
    def version(self) -> str | None:
        """ComfyUI's, where it says."""
        said = self.system.get("comfyui_version")
        return said[:40] if isinstance(said, str) else None


class NodeClass(Answer):
    """Of /object_info: the inputs of a class of nodes by group, "required" and "optional" among them."""

    input: Annotated[
        dict[str, Annotated[dict[str, Any], BeforeValidator(_none_as_empty)]], BeforeValidator(_none_as_empty)
    ]


class Queue(Answer):
    """Of /queue: of each graph a list whose second is its id."""

    queue_running: list[Annotated[list[Any], Field(min_length=2)]]
    queue_pending: list[Annotated[list[Any], Field(min_length=2)]]

    def has(self, prompt_id: str) -> bool:
        return any(item[1] == prompt_id for item in self.queue_running + self.queue_pending)


class Wrong(Answer):
    """What is wrong with a graph, or with an input."""

    message: Any = ""
    details: Any = ""

    def __str__(self) -> str:
        return f"{self.message}: {self.details}".rstrip(": ")


class NodeErrors(Answer):
    class_type: str
    errors: list[Wrong]


class Accepted(Answer):
    """Of /prompt, also where it is refused."""

    prompt_id: Any = None
    node_errors: Annotated[dict[str, NodeErrors], BeforeValidator(_none_as_empty)] = {}
    error: str | Wrong | None = None

    def refusal(self) -> str:
        """What it says about a graph that it does not take; empty where it takes it."""
        details = [
            f"{node.class_type} (node {node_id}): {error}"
            for node_id, node in self.node_errors.items()
            for error in node.errors
        ]
        return "; ".join(details) or str(self.error or "") or ("it does not say why" if self.node_errors else "")


class File(Answer):
    """A file that a node made."""

    filename: str
    subfolder: str = ""
    type: str = ""


class Output(Answer):
    """What a node made."""

    images: list[File] = []


class Message(Answer):
    """What is said of an event in a run."""

    timestamp: float | None = None
    node_type: str = "a node"
    node_id: Any = "?"
    exception_message: str = ""


class Status(Answer):
    status_str: str
    messages: list[Annotated[list[Any], Field(min_length=2, max_length=2)]] = []

    def message(self, kind: str) -> Message | None:
        """The last of a kind."""
        return next((Message.model_validate(data) for name, data in reversed(self.messages) if name == kind), None)


class Node(Answer):
    """Of a graph in API format."""

    class_type: str
    inputs: dict[str, Any]


class Entry(Answer):
    """Of /history: a graph that has run."""

    prompt: Annotated[list[Any], Field(min_length=3)]
    outputs: Annotated[dict[str, Output], BeforeValidator(_none_as_empty)] = {}
    status: Status | None = None

    @property
    def graph(self) -> Graph:
        """As it ran: ComfyUI converts types, and puts new nodes in the place of old ones. Raises ValueError."""
        return graph_of(self.prompt[2])

    @property
    def succeeded(self) -> bool:
        """Whether it ran to its end."""
        return self.status is not None and self.status.status_str == "success"

    @property
    def seconds(self) -> float | None:
        """How long it took. Raises ValueError."""
        if self.status is None:
            return None
        times = [self.status.message(kind) for kind in ("execution_start", "execution_success")]
        started, ended = (None if message is None else message.timestamp for message in times)
        return round((ended - started) / 1000, 3) if started and ended else None

    def files(self) -> list[File]:
        """The pictures that it saved, or, where it has saved none, those that it previewed."""
        files = [file for _, output in sorted(self.outputs.items()) for file in output.images]
        return [file for file in files if file.type == "output"] or files


class Event(Answer):
    """Of the websocket."""

    type: str
    data: dict[str, Any]


class Step(Answer):
    """That the running node has reached."""

    value: Annotated[float, Field(allow_inf_nan=False)]
    max: Annotated[float, Field(allow_inf_nan=False)]


_GRAPH = TypeAdapter(dict[str, Node])


def graph_of(value: Any) -> Graph:
    """The same value, if it is a graph in API format. Raises ValueError."""
    _GRAPH.validate_python(value)
    return value
