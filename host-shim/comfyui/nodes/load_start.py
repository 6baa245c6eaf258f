"""Load LGS Start: a start that Fit LGS Start has kept, for LGS Start."""

from __future__ import annotations

from comfy_api.latest import io

from .. import lgs
from ..lgs.starts import load
from .schema import node_schema
from .start_files import BUNDLED, choices, complaint, location
from .start_words import in_words


class LGSLoadStart(io.ComfyNode):
    """The node. Its list of files is read anew each time that ComfyUI asks for the schema."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = node_schema("LGSLoadStart", beside="CheckpointLoaderSimple")
        file = next(entry for entry in schema.inputs if entry.id == "file")
        file.options = choices()
        return schema

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        # None: the name comes from another node, and is not known before that has run.
        return True if file is None or location(file) else complaint(file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> object:
        """Another one once the file has been fitted again."""
        path = None if file is None else location(file)
        return None if path is None or not path.exists() else (path.stat().st_mtime_ns, path.stat().st_size)

    @classmethod
    def execute(cls, file: str = next(iter(BUNDLED))) -> io.NodeOutput:
        path = location(file)
        if path is None:
            raise lgs.InvalidArgument(f"file: {complaint(file)}")
        start = load(path)
        return io.NodeOutput(start, in_words(start))
