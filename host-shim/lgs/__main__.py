"""``python -m lgs info``: what is installed here and whether it works, as JSON."""

from __future__ import annotations

import argparse
import json
import sys


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lgs", description="Full-covariance diffusion sampling.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="print versions, engine, torch and devices as JSON")
    parser.parse_args()
    from . import info

    answer = info()
    json.dump(answer, sys.stdout, indent=2)
    print()
    return 1 if answer["problem"] else 0


if __name__ == "__main__":
    sys.exit(main())
