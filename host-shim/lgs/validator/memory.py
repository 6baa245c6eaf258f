"""How much memory this process uses."""

from __future__ import annotations

import os
from pathlib import Path


def resident() -> int | None:
    """Bytes of it that are in memory, where the system says so."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
