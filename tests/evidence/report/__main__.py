"""``python -m evidence.report``: see `evidence.report.command`."""

import sys

try:
    from .command import main

    main()
except KeyboardInterrupt:
    print("\nStopped. What was measured is kept: the same command goes on from there.", file=sys.stderr)
    sys.exit(130)
