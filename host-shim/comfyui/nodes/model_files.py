"""The files that a loader node offers: what is bundled, and those of a folder of ComfyUI's models."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from .. import lgs
from .schema import node_schema


class ModelFiles:
    """``kind``: the folder's name in ComfyUI and in ``extra_model_paths.yaml``. ``bundled``: by the names that the
    manifest gives them, which no file in the folder can have. ``how``: what to do to have a file there. ``without``: a
    folder in it whose files are another node's."""

    def __init__(self, kind: str, bundled: dict[str, Path], how: str, without: str | None = None):
        self.kind, self.bundled, self._how, self._without = kind, bundled, how, without

    def schema(self, node: str) -> io.Schema:
        """Of a node whose input ``file`` is one of these, read anew each time."""
        schema = node_schema(node, beside="CheckpointLoaderSimple")
        next(entry for entry in schema.inputs if entry.id == "file").options = self.choices()
        return schema

    def validated(self, file: str | None) -> bool | str:
        """What ComfyUI's ``validate_inputs`` gives. None: the name comes from another node, and is not known before
        that has run."""
        return True if file is None or self.location(file) else self._complaint(file)

    def choices(self) -> list[str]:
        """The bundled ones, then the files of the folder, if there is one."""
        # Not get_filename_list: its cache fails once the folder is gone.
        files, *_ = folder_paths.get_filename_list_(self.kind)
        return [*self.bundled, *(file for file in files if Path(file).parts[0] != self._without)]

    def location(self, file: str) -> Path | None:
        """Where the file of this name lies; None if there is none."""
        if file in self.bundled:
            return self.bundled[file]
        inside = Path(os.path.normpath(os.path.join(os.sep, file))).parts[1:2]
        found = None if inside == (self._without,) else folder_paths.get_full_path(self.kind, file)
        return None if found is None else Path(found)

    def found(self, file: str) -> Path:
        """The same; raises `lgs.InvalidArgument` if there is none."""
        path = self.location(file)
        if path is None:
            raise lgs.InvalidArgument(f"file: {self._complaint(file)}")
        return path

    def _complaint(self, file: str) -> str:
        """A sentence about a name that is no file's."""
        return (
            f"expected one of {', '.join(self.choices())}, got {file!r}. {self._how}, with the ending "
            f".safetensors, into {' or '.join(folder_paths.get_folder_paths(self.kind))}, or choose another."
        )
