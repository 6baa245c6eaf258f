"""What a check is, and making it."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

ISOLATED = hasattr(os, "fork")
"""Whether a check can have a process of its own, so that one which crashes or hangs is named like any other."""


class Violation(Exception):
    """What was expected, and what came."""


class NotHere(Exception):
    """Why a check cannot be made on this system."""


def expect(holds: Any, message: str | Callable[[], str]) -> None:
    """Raises `Violation` unless it holds."""
    if not holds:
        raise Violation(message if isinstance(message, str) else message())


@dataclass(frozen=True)
class Check:
    """A part of the contract: its name, what it says, and what finds out; that takes the subject."""

    name: str
    rule: str
    run: Callable[[Any], None]


class Checks(list[Check]):
    """A group of checks, as a decorator."""

    def __call__(self, name: str, rule: str):
        def add(run):
            self.append(Check(name, rule, run))
            return run

        return add


@dataclass
class Finding:
    """What came of a check."""

    name: str
    rule: str
    passed: bool
    detail: str = ""
    seconds: float = 0.0


def make(check: Check, subject: Any, longest: float, isolated: bool = ISOLATED) -> Finding:
    """Makes a check; in a process of its own it may take ``longest`` seconds."""
    begun = time.monotonic()
    passed, detail = _in_a_child(check, subject, longest) if isolated else _outcome(check, subject, False)
    return Finding(check.name, check.rule, passed, detail, round(time.monotonic() - begun, 3))


def _outcome(check: Check, subject: Any, in_a_child: bool) -> tuple[bool, str]:
    try:
        check.run(subject)
    except NotHere as why:
        return True, f"not checked: {why}"
    except Violation as violation:
        return False, str(violation)
    except KeyboardInterrupt:
        if not in_a_child:
            raise
        return False, "raised KeyboardInterrupt"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return False, f"raised {type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})"
    except BaseException as error:
        return False, f"raised {type(error).__name__}"
    return True, ""


def _in_a_child(check: Check, subject: Any, longest: float) -> tuple[bool, str]:
    sys.stdout.flush()
    sys.stderr.flush()
    answer, told = os.pipe()
    child = os.fork()
    if not child:
        os.close(answer)
        faulthandler.disable()  # whoever waits names what has crashed
        # After a fork torch renews its pool at the next call that asks for it, and fails where two threads do so
        # at once (ParallelOpenMP.cpp: "Invalid thread pool!"): so it is done here, by one.
        torch.set_num_threads(torch.get_num_threads())
        with contextlib.suppress(BaseException):
            passed, detail = _outcome(check, subject, True)
            os.write(told, json.dumps([passed, detail[:10_000]]).encode())
        os._exit(0)
    os.close(told)
    try:
        return _answer_of(child, answer, time.monotonic() + longest, longest)
    finally:
        os.close(answer)


def _answer_of(child: int, answer: int, until: float, longest: float) -> tuple[bool, str]:
    text = b""
    while True:
        ready, _, _ = select.select([answer], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False, f"hung: no end in {longest:g} seconds"
        part = os.read(answer, 65536)
        if not part:
            break
        text += part
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        return False, f"crashed: {signal.strsignal(-code) or f'signal {-code}'}"
    try:
        passed, detail = json.loads(text)
    except ValueError:
        return False, f"ended the process, with status {code}"
    return passed, detail


def as_json(findings: list[Finding]) -> str:
    """All of it, for programs."""
    passed = bool(findings) and all(finding.passed for finding in findings)
    return json.dumps({"passed": passed, "checks": [asdict(finding) for finding in findings]}, indent=2)
