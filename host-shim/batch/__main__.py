"""Either ``python -m batch``, or ``python path/to/batch`` from anywhere."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from batch.command import main

sys.exit(main())
