"""liblgs through ctypes: the one room in which the C interface, ``plugin/include/lgs.h``, is known.

header.py      the header's structs and constants, written from it by `make docs`
liblgs.py      the shared library, loaded once, its statuses turned into exceptions
calls.py       one call into the library, and what its callbacks raised
log.py         the library's messages, to the logger ``lgs``
engine.py      the engine for the torch of this process, opened once
callbacks.py   what the library asks of a host while it samples
model_calls.py the functions that run a model: tensors in, tensors out
start_calls.py those that start a trajectory
"""

from .header import (
    ABI_VERSION,
    CONTINUE,
    FAIL,
    JVP_NAMES,
    STOP,
    Api,
    Choice,
    EngineConfig,
    Host,
    Progress,
)
from .liblgs import HOME, Library, library

__all__ = [
    "ABI_VERSION",
    "CONTINUE",
    "FAIL",
    "HOME",
    "JVP_NAMES",
    "STOP",
    "Api",
    "Choice",
    "EngineConfig",
    "Host",
    "Library",
    "Progress",
    "library",
]
