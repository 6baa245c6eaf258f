"""Where the folder that is tested lies: the one that `lgs` was imported from."""

from pathlib import Path

import lgs

FOLDER = Path(lgs.__file__).resolve().parent.parent
