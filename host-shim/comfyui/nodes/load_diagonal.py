"""Load Diagonal Covariance: a learned diagonal of the posterior covariance, for LGS Sampler.

Its files lie in the folder ``models/lgs`` of ComfyUI, and wherever ``extra_model_paths.yaml`` says
that those of ``lgs`` do; the digit model's is bundled.
"""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..lgs.diagonal import load_diagonal
from .model_files import ModelFiles

BUNDLED = {"bundled digits": Path(__file__).absolute().parents[1] / "models" / "digits-diagonal.safetensors"}
"""By the name that the manifest gives it, which no file in the folder can have."""

FOLDER, STARTS = "lgs", "starts"
"""Of ComfyUI's models, and what in it is not for this node: see ``start_files.py``."""

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
# The function sets no file extensions, and none at all means any.
folder_paths.folder_names_and_paths[FOLDER] = (folder_paths.get_folder_paths(FOLDER), {".safetensors"})


FILES = ModelFiles(FOLDER, BUNDLED, "Put the file", without=STARTS)


class LGSLoadDiagonal(io.ComfyNode):
    """The node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return FILES.schema("LGSLoadDiagonal")

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return FILES.validated(file)

    @classmethod
    def execute(cls, file: str = next(iter(BUNDLED))) -> io.NodeOutput:
        return io.NodeOutput(load_diagonal(FILES.found(file)))
