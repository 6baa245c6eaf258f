"""What is validated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from .._ffi import Library
from .._ffi.engine import Engine


@dataclass(frozen=True)
class Installation:
    """A library, and the ``engines.json`` that it finds its engine by."""

    library: Library
    manifest: Path

    @cached_property
    def engine(self) -> Engine:
        """Opened where it is needed first: in the process of a check."""
        return Engine(self.library, self.manifest, torch.__version__)
