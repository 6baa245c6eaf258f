"""The library's messages, to the logger ``lgs``."""

from __future__ import annotations

import logging

from .calls import FUNCTIONS, current_call
from .header import CONTINUE, STOP, EngineConfig

log = logging.getLogger("lgs")

_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO}
"""As ``lgs_engine_config.log`` numbers them."""


def _log(_context, level, message):
    try:
        call = current_call()
        # What the library says of a call that is being stopped only follows from that.
        stopping = call is not None and call.stopping
        # Hosts print the message without the logger's name.
        log.log(logging.DEBUG if stopping else _LEVELS.get(level, logging.DEBUG), "LGS: %s", message.decode())
        return CONTINUE
    except BaseException as exception:
        # Handlers report their own failures; what arrives here is a signal, or a filter that fails.
        call = current_call()
        if call is None:
            raise
        call.exception, call.stopping = exception, True
        return STOP


FUNCTIONS.add(_log)
log_callback = EngineConfig.type_of("log")(_log)
"""For `EngineConfig`."""
