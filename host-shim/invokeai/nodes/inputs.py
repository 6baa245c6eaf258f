"""LGS's own inputs as fields of an InvokeAI node, from ``manifests/nodes.json``, where they are declared once."""

import re
from collections.abc import Collection
from typing import Any, Literal, TypeVar

from invokeai.app.invocations.baseinvocation import BaseInvocation
from invokeai.app.invocations.fields import InputField
from pydantic import create_model

from ..lgs.node_manifest import options_of, shown_inputs

SAMPLER = "LGSSampler"
"""The node of the manifest whose inputs these are."""

TYPES = {"INT": int, "FLOAT": float, "BOOLEAN": bool}

Node = TypeVar("Node", bound=BaseInvocation)


def with_lgs_inputs(node: type[Node], *, without: Collection[str]) -> type[Node]:
    """The node with LGS's inputs behind its own, but ``without`` these inputs or choices of one."""
    fields = {entry["id"]: _field(entry, without) for entry in shown_inputs(SAMPLER) if entry["id"] not in without}
    made = create_model(f"{node.__name__}WithLGS", __base__=node, __module__=__name__, **fields)
    made.lgs_inputs = tuple(fields)
    return made


def lgs_options(node: BaseInvocation) -> dict[str, Any]:
    """The options that a node's values of these inputs stand for."""
    return options_of(SAMPLER, {name: getattr(node, name) for name in type(node).lgs_inputs})


def _field(entry: dict[str, Any], without: Collection[str]) -> tuple[Any, Any]:
    choices = tuple(choice for choice in entry.get("choices", ()) if choice not in without)
    tooltip = entry["tooltip"]
    for choice in without:  # its sentence, which begins with its name
        tooltip = re.sub(rf"(?<!\S){re.escape(choice)}: [^.]*\. ?", "", tooltip)
    field = InputField(
        default=entry["default"],
        title=entry["display_name"],
        description=tooltip.strip(),
        **{limit: entry[end] for limit, end in (("ge", "min"), ("le", "max")) if end in entry},
    )
    return Literal[choices] if choices else TYPES[entry["type"]], field
