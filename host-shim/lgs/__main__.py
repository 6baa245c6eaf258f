"""The command line: ``lgs`` where pip has installed it, ``python -m lgs``, or ``python path/to/lgs`` from anywhere.

info     what is installed here and whether it works, as JSON
batch    one ComfyUI workflow over many seeds and settings: see `lgs.batch`
validate what is installed here, another library, or a model, against what each promises: see `lgs.validator`
fit      a start to pictures or latents: see `lgs.starts`
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).absolute().parent

if not __package__:  # the folder was run, and is the first place that modules are looked for in
    sys.path[0] = str(HERE.parent)


COMMANDS = {
    "batch": "run one ComfyUI workflow over many seeds and settings",
    "validate": "check what is installed here, or a model, against its contract",
    "fit": "fit a start to pictures or latents",
}
"""Those with arguments of their own, and what each is for."""


def _command(name: str) -> Callable[[list[str], str], int]:
    """What runs it. No other is loaded: a batch needs no torch."""
    if name == "batch":
        from lgs.batch.command import main
    elif name == "validate":
        from lgs.validator.command import main
    else:
        from lgs.starts.command import main
    return main


def main() -> int:
    program = Path(sys.argv[0])
    # As it was called, so that the examples in the help text run.
    if program.is_dir():
        called = f"python {shlex.quote(sys.argv[0])}"
    else:
        called = "python -m lgs" if program.name == "__main__.py" else program.stem
    parser = argparse.ArgumentParser(prog=called, description="Full-covariance diffusion sampling.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="print versions, engine, torch and devices as JSON")
    for name, what_for in COMMANDS.items():
        commands.add_parser(name, help=what_for, add_help=False)
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:  # with all that follows, which may hold a --
        return _command(arguments[0])(arguments[1:], f"{called} {arguments[0]}")
    parser.parse_args(arguments)
    from lgs.installation import info

    answer = info()
    json.dump(answer, sys.stdout, indent=2)
    print()
    return 1 if answer["problem"] else 0


if __name__ == "__main__":
    sys.exit(main())
