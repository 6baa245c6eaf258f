"""The engine for the torch of this process, opened once."""

from __future__ import annotations

import json
import threading
from ctypes import byref, c_void_p
from pathlib import Path

import torch

from ..errors import error_for
from .calls import Call
from .header import EngineConfig
from .liblgs import Library, library
from .log import log_callback


class Engine:
    """An engine that fits ``torch_version``, from the manifest (an ``engines.json``) at hand.

    To `lgs._torch.handles` it is who clones and deletes handles.
    """

    def __init__(self, lib: Library, manifest: Path, torch_version: str):
        self.lib = lib
        config = EngineConfig.sized(str(manifest).encode(), torch_version.encode(), None, log_callback)
        handle = c_void_p()
        with Call() as call:
            status, message = lib.call(lib.api.engine_open, byref(config), byref(handle))
        if status:
            call.raise_again(status)
            raise error_for(status, message)
        self.handle = handle

    def info(self) -> dict:
        return json.loads(self.lib.text(self.lib.api.engine_info, self.handle))

    def clone_handle(self, tensor: int) -> int:
        """A second handle of a tensor, which its caller owns."""
        clone = c_void_p()
        status, message = self.lib.call(self.lib.api.tensor_clone, self.handle, tensor, byref(clone))
        if status:
            raise error_for(status, message)
        return clone.value

    def delete_handle(self, tensor: int) -> None:
        self.lib.api.tensor_delete(self.handle, tensor)

    def __del__(self):
        if hasattr(self, "handle"):
            self.lib.api.engine_close(self.handle)


_engines: dict[Path, Engine] = {}
_lock = threading.Lock()


def engine() -> Engine:
    """The engine, opened at the first call; a failure is not remembered."""
    with _lock:
        lib = library()
        if lib.engines not in _engines:
            _engines[lib.engines] = Engine(lib, lib.engines, torch.__version__)
        return _engines[lib.engines]
