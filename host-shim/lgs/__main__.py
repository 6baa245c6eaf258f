"""The command line: ``python -m lgs``, or ``python path/to/lgs`` from anywhere.

info     what is installed here and whether it works, as JSON
batch    one ComfyUI workflow over many seeds and settings: see `lgs.batch`
validate what is installed here, another library, or a model, against what each promises: see `lgs.validator`
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

HERE = Path(__file__).absolute().parent

if not __package__:  # the folder was run, and is the first place that modules are looked for in
    sys.path[0] = str(HERE.parent)


def main() -> int:
    # As it was called, so that the examples in the help text run.
    called = f"python {shlex.quote(sys.argv[0])}" if Path(sys.argv[0]).is_dir() else "python -m lgs"
    parser = argparse.ArgumentParser(prog=called, description="Full-covariance diffusion sampling.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="print versions, engine, torch and devices as JSON")
    commands.add_parser("batch", help="run one ComfyUI workflow over many seeds and settings", add_help=False)
    commands.add_parser(
        "validate", help="check what is installed here, or a model, against its contract", add_help=False
    )
    arguments = sys.argv[1:]
    if arguments[:1] == ["batch"]:  # its own arguments, which may hold a -- and what follows
        from lgs.batch.command import main as batch

        return batch(arguments[1:], f"{called} batch")
    if arguments[:1] == ["validate"]:
        from lgs.validator.command import main as validate

        return validate(arguments[1:], f"{called} validate")
    parser.parse_args(arguments)
    from lgs.installation import info

    answer = info()
    json.dump(answer, sys.stdout, indent=2)
    print()
    return 1 if answer["problem"] else 0


if __name__ == "__main__":
    sys.exit(main())
