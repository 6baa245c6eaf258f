"""Load LGS Start: a start that Fit LGS Start has kept, for LGS Start."""

from __future__ import annotations

from comfy_api.latest import io

from ..lgs.starts import load
from .start_files import BUNDLED, FILES
from .start_words import in_words


class LGSLoadStart(io.ComfyNode):
    """The node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return FILES.schema("LGSLoadStart")

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return FILES.validated(file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> object:
        """Another one once the file has been fitted again."""
        path = None if file is None else FILES.location(file)
        return None if path is None or not path.exists() else (path.stat().st_mtime_ns, path.stat().st_size)

    @classmethod
    def execute(cls, file: str = next(iter(BUNDLED))) -> io.NodeOutput:
        start = load(FILES.found(file))
        return io.NodeOutput(start, in_words(start))
