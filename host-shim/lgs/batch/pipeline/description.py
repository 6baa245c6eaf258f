"""The description of a pipeline and its call, as a graph of three nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ..errors import BatchError
from ..plan import Graph

PARTS = ("pipeline", "call", "options")
"""The nodes' ids, and their classes."""
HOW = (
    'Give {"pipeline": {"folder": ...}, "call": {"prompt": ..., "num_inference_steps": ..., "seed": 1}, "options": {}}.'
)


class Source(BaseModel):
    """Where the pipeline comes from."""

    model_config = ConfigDict(strict=True, extra="forbid")

    folder: str
    """As `save_pretrained` writes it; nothing is downloaded."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str = "auto"
    """A torch device, or "auto": CUDA where there is one, else the processor."""


class Description(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    pipeline: Source
    call: Annotated[dict[str, JsonValue], Field(min_length=1)]
    """Arguments of the pipeline; ``seed`` is for its generator."""
    options: dict[str, JsonValue] = {}
    """Of `lgs.Options`, that differ from the scheduler's defaults."""


def is_description(content: Any) -> bool:
    """Whether a file's content is meant as one, and not as a workflow."""
    return isinstance(content, dict) and "call" in content and "pipeline" in content


def read_description(path: Path, content: Any) -> Graph:
    """The description of a file with this content, as a graph. Raises BatchError."""
    try:
        found = Description.model_validate(content)
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, wrong["loc"]))
        raise BatchError(
            f"{path}: expected a pipeline and its call, got one in which {place} is wrong: {wrong['msg']}, got "
            f"{wrong['input']!r:.80}. {HOW}"
        ) from error
    seed = found.call.setdefault("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise BatchError(f"{path}: call.seed: expected a whole number, got {seed!r:.80}.")
    # An absolute path: the same job from wherever the command is run.
    found.pipeline.folder = str((path.parent / found.pipeline.folder).absolute())
    return {part: {"class_type": part, "inputs": inputs} for part, inputs in found.model_dump().items()}
