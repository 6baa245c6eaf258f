"""The engine for the torch of this process, opened once."""

from __future__ import annotations

import json
import threading
from ctypes import byref, c_void_p, sizeof
from pathlib import Path

import torch

from . import _native
from ._callbacks import Call, log_callback
from .errors import error_for


class Engine:
    """An engine that fits ``torch_version``, from the manifest (an ``engines.json``) at hand."""

    def __init__(self, lib: _native.Library, manifest: Path, torch_version: str):
        self.lib = lib
        config = _native.EngineConfig(
            sizeof(_native.EngineConfig), str(manifest).encode(), torch_version.encode(), None, log_callback
        )
        handle = c_void_p()
        with Call() as call:
            status, message = lib.call(lib.api.engine_open, byref(config), byref(handle))
        if status:
            call.raise_again(status)
            raise error_for(status, message)
        self.handle = handle

    def info(self) -> dict:
        return json.loads(self.lib.text(self.lib.api.engine_info, self.handle))

    def __del__(self):
        if hasattr(self, "handle"):
            self.lib.api.engine_close(self.handle)


_engines: dict[Path, Engine] = {}
_lock = threading.Lock()


def engine() -> Engine:
    """The engine, opened at the first call; a failure is not remembered."""
    with _lock:
        manifest = _native.HOME / "bin" / "engines.json"
        if manifest not in _engines:
            _engines[manifest] = Engine(_native.library(), manifest, torch.__version__)
        return _engines[manifest]
