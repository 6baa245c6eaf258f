"""``python -m evidence.demo``: see `evidence.demo.command`."""

import sys

try:
    from .command import main

    main()
except KeyboardInterrupt:
    print("\nStopped before the end.", file=sys.stderr)
    sys.exit(130)
