"""The command line."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from .._ffi import Library, library
from ..errors import Error
from . import callbacks, engine, host, shim, structs, tensors, together
from . import library as table
from .check import ISOLATED, Check, Finding, as_json, make
from .subject import Installation

DESCRIPTION = """Take what is installed here, another library, or a model of yours through the contract that they have
with each other: every function, every callback failing at each of its calls, structs of every size, tensors of every
kind, threads, forks, interrupts.

  %(prog)s                                        this installation: library, engine and Python package
  %(prog)s --library lgs.so --engines engines.json
  %(prog)s --host my_module:denoise --shape 4,64,64 --sigma-max 14.6

A line a check, and under one that fails what was expected and what came. The exit status is 0 where all hold and 1
where one does not. Each check of a library has a process of its own where the system has fork, so that one which
crashes or hangs is named, and the others are made."""

OF_A_LIBRARY = (table, engine, callbacks, structs, tensors, together)


def main(arguments: list[str], program: str) -> int:
    """Runs the command, called as ``program``; gives its exit status."""
    parser = argparse.ArgumentParser(
        prog=program, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there as well")
    parser.add_argument("--only", default="", metavar="NAME", help="the checks whose name begins with it")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="the longest for one check (default: 120)")
    other = parser.add_argument_group("another library")
    other.add_argument("--library", type=Path, metavar="FILE", help="a liblgs")
    other.add_argument("--engines", type=Path, metavar="FILE", help="its engines.json (default: beside it)")
    model = parser.add_argument_group("a model")
    model.add_argument(
        "--host", metavar="MODULE:NAME", help="denoise(x, sigma), the posterior mean of x_0; it is run here"
    )
    model.add_argument("--shape", type=_shape, metavar="N,N,...", help="of one item of x, without the batch")
    model.add_argument("--sigma-max", type=float, help="the highest noise level; 1 for a flow")
    model.add_argument("--sigma-min", type=float, default=0.03, help="a low one (default: %(default)s)")
    model.add_argument("--process", choices=("ve", "flow"), default="ve", help="default: %(default)s")
    model.add_argument("--dtype", choices=sorted(_DTYPES), default="float32", help="default: %(default)s")
    model.add_argument("--device", default="cpu", help="default: %(default)s")
    args = parser.parse_args(arguments)
    if args.host and (args.library or not args.shape or not args.sigma_max):
        parser.error("--host needs --shape and --sigma-max, and goes without --library")
    if args.engines and not args.library:
        parser.error("--engines can only be used with --library")
    if args.host and args.timeout is not None:
        parser.error("--timeout cannot be used with --host: a model is run in this process, which Ctrl-C ends")
    if not args.host:
        torch.set_num_threads(1)  # a child of fork has none of the threads of a parent
    _quiet()
    try:
        findings = _findings(args)
    except Error as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    failed = [finding for finding in findings if not finding.passed]
    print(f"{len(findings)} checks, {len(failed)} failed")
    if args.json:
        args.json.write_text(as_json(findings) + "\n", encoding="utf-8")
    return 1 if failed or not findings else 0


def _quiet() -> None:
    """What the library and torch say of calls that are wrong on purpose is of no use to anybody."""
    log = logging.getLogger("lgs")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    warnings.simplefilter("ignore")


_DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _findings(args: argparse.Namespace) -> list[Finding]:
    if args.host:
        subject = host.Model(
            _named(args.host),
            args.shape,
            args.sigma_max,
            args.sigma_min,
            args.process,
            _DTYPES[args.dtype],
            args.device,
        )
        # In this process: a model may hold a device, which no child of fork can use.
        return _made(host.checks, subject, args, isolated=False)
    groups: list[Check] = [check for group in OF_A_LIBRARY for check in group.checks]
    if args.library:
        lib = Library(args.library.absolute())
        installation = Installation(lib, (args.engines or lib.engines).absolute())
    else:
        installation = Installation(library(), library().engines)
        groups += shim.checks
    return _made(groups, installation, args, isolated=ISOLATED)


def _made(checks: Sequence[Check], subject: Any, args: argparse.Namespace, isolated: bool) -> list[Finding]:
    findings = []
    for check in checks:
        if check.name.startswith(args.only):
            findings.append(make(check, subject, args.timeout or 120, isolated))
            print(_line(findings[-1]), flush=True)
    return findings


def _line(finding: Finding) -> str:
    line = f"{'ok  ' if finding.passed else 'FAIL'}  {finding.name:36} {finding.seconds:6.1f} s"
    notes = [finding.detail] if finding.passed else [finding.rule, finding.detail]
    return "\n".join([line, *(f"      {note}" for note in notes if note)])


def _named(text: str) -> Callable:
    """What is called MODULE:NAME."""
    module, _, name = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as problem:
        raise Error(
            f"--host: expected MODULE:NAME of a function denoise(x, sigma), got {text!r}: {problem}"
        ) from problem
    if not callable(found):
        raise Error(f"--host: expected a function denoise(x, sigma), got {type(found).__name__}")
    return found
