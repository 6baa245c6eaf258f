"""Load Diagonal Covariance: a learned diagonal of the posterior covariance, for LGS Sampler.

Its files lie in the folder ``models/lgs`` of ComfyUI, and wherever ``extra_model_paths.yaml`` says
that those of ``lgs`` do; the digit model's is bundled.
"""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from .. import lgs
from ..lgs.diagonal import load_diagonal
from .schema import node_schema

BUNDLED = {"bundled digits": Path(__file__).absolute().parents[1] / "models" / "digits-diagonal.safetensors"}
"""By the name that the manifest gives it, which no file in the folder can have."""

FOLDER, STARTS = "lgs", "starts"
"""Of ComfyUI's models, and what in it is not for this node: see ``start_files.py``."""

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
# The function sets no file extensions, and none at all means any.
folder_paths.folder_names_and_paths[FOLDER] = (folder_paths.get_folder_paths(FOLDER), {".safetensors"})


class LGSLoadDiagonal(io.ComfyNode):
    """The node. Its list of files is read anew each time that ComfyUI asks for the schema."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        schema = node_schema("LGSLoadDiagonal", beside="CheckpointLoaderSimple")
        file = next(entry for entry in schema.inputs if entry.id == "file")
        file.options = choices()
        return schema

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        # None: the name comes from another node, and is not known before that has run.
        return True if file is None or location(file) else complaint(file)

    @classmethod
    def execute(cls, file: str = next(iter(BUNDLED))) -> io.NodeOutput:
        path = location(file)
        if path is None:
            raise lgs.InvalidArgument(f"file: {complaint(file)}")
        return io.NodeOutput(load_diagonal(path))


def choices() -> list[str]:
    """What the node offers: the bundled one, then the files of the folder, if there is one."""
    # Not get_filename_list: its cache fails once the folder is gone.
    files, *_ = folder_paths.get_filename_list_(FOLDER)
    return [*BUNDLED, *(file for file in files if Path(file).parts[0] != STARTS)]


def location(file: str) -> Path | str | None:
    """Where the file of this name lies; None if there is none."""
    if file in BUNDLED:
        return BUNDLED[file]
    is_start = Path(os.path.normpath(os.path.join(os.sep, file))).parts[1:2] == (STARTS,)
    return None if is_start else folder_paths.get_full_path(FOLDER, file)


def complaint(file: str) -> str:
    """A sentence about a name that is no file's."""
    return (
        f"expected one of {', '.join(choices())}, got {file!r}. Put the file, with the ending .safetensors, into "
        f"{' or '.join(folder_paths.get_folder_paths(FOLDER))}, or choose another."
    )
