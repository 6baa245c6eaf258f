"""Where starts are kept: the folder ``starts`` in each folder of ComfyUI's ``lgs`` models."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import folder_paths

from .. import lgs
from .load_diagonal import FOLDER, STARTS
from .model_files import ModelFiles

BUNDLED = {"bundled digits": Path(__file__).absolute().parents[1] / "models" / "digits-start.safetensors"}
"""By the name that the manifest gives it, which no file in the folder can have."""

KIND = "lgs_starts"
"""What ``extra_model_paths.yaml`` calls the folder, if it has one of its own."""

NAME = re.compile(r"\w[\w .-]{0,79}")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows has for devices."""

for _folder in folder_paths.get_folder_paths(FOLDER):
    folder_paths.add_model_folder_path(KIND, os.path.join(_folder, STARTS))
# The function sets no file extensions, and none at all means any.
folder_paths.folder_names_and_paths[KIND] = (folder_paths.get_folder_paths(KIND), {".safetensors"})


FILES = ModelFiles(KIND, BUNDLED, "Fit one with Fit LGS Start, put its file")


def complaint_of_name(name: str) -> str | None:
    """What is wrong with a name to keep a start under, or None."""
    fits = NAME.fullmatch(name) and ".." not in name and name[-1] not in " ." and not RESERVED.fullmatch(name)
    if fits and name not in BUNDLED and not name.endswith(".safetensors"):
        return None
    return (
        "expected letters, digits, spaces, '-', '_' or '.', at most 80, beginning with a letter or a digit and without "
        f"the ending .safetensors, such as 'portraits', got {name!r}"
    )


def place_of(name: str) -> Path:
    """Where a start of this name is kept; the folder is made."""
    if wrong := complaint_of_name(name):
        raise lgs.InvalidArgument(f"name: {wrong}")
    folder = Path(folder_paths.get_folder_paths(KIND)[0])
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.safetensors"


class Work:
    """What a fit that was stopped has done, in hidden files beside its start: one for each set of settings."""

    def __init__(self, name: str, settings: object):
        self.file = place_of(name)
        digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
        self.unfinished = self.file.with_name(f".{name}.{digest}.unfinished")
        self._fitted = self.file.with_name(f".{name}.{digest}.fitted")

    def fitted_before(self) -> lgs.GaussianPrior | None:
        """The start of a fit that was stopped once it was fitted, before it was compared with the model."""
        return lgs.GaussianPrior.load(self._fitted) if self._fitted.exists() else None

    def fitted(self, start: lgs.GaussianPrior) -> lgs.GaussianPrior:
        start.save(self._fitted)
        return start

    def done(self, start: lgs.GaussianPrior) -> None:
        """Keeps the start, and nothing else."""
        start.save(self.file)
        self._fitted.unlink(missing_ok=True)
