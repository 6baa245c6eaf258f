"""Figures with bounds, the checks that give them, and the file that they are saved in."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Figure(NamedTuple):
    """A measured number, and what it must not exceed (None: it is only told)."""

    value: float
    bound: float | None = None

    @property
    def holds(self) -> bool:
        return math.isfinite(self.value) and (self.bound is None or self.value <= self.bound)

    def __str__(self) -> str:
        return f"{self.value:.3g}" + ("" if self.bound is None else f" (<= {self.bound:g})")


Figures = dict[str, Figure]


class Skip(Exception):
    """Why a check cannot be made here."""


CHECKS: dict[str, Callable[[torch.device], Figures]] = {}
"""Every check by its name, in the order in which they are run."""


def check(name: str):
    """Registers a check: a function of the device, which gives figures, raises `Skip`, or fails."""

    def register(function: Callable[[torch.device], Figures]):
        CHECKS[name] = function
        return function

    return register


def run_check(name: str, device: torch.device) -> dict[str, Any]:
    """Runs a check and gives its row of the record."""
    start = time.perf_counter()
    row: dict[str, Any] = {"name": name, "figures": {}}
    try:
        figures = CHECKS[name](device)
        row["status"] = "PASS" if all(figure.holds for figure in figures.values()) else "FAIL"
        row["figures"] = {title: figure._asdict() for title, figure in figures.items()}
    except Skip as reason:
        row |= {"status": "SKIP", "message": str(reason)}
    except Exception as problem:
        # Whatever it was, the checks after this one still tell something.
        row |= {"status": "FAIL", **told(problem)}
    return row | {"seconds": round(time.perf_counter() - start, 2)}


def told(problem: BaseException) -> dict[str, str]:
    """An exception, in short and in full."""
    first_line = (str(problem).splitlines() or [""])[0]
    return {
        "message": f"{type(problem).__name__}: {first_line}",
        "traceback": "".join(traceback.format_exception(problem)),
    }


def describe_check(row: dict[str, Any]) -> str:
    figures = {title: Figure(**figure) for title, figure in row["figures"].items()}
    lines = [f"{row['status']}  {row['name']}" + (f": {row['message']}" if "message" in row else "")]
    for title, figure in figures.items():
        lines.append(f"      {'' if figure.holds else 'NOT: '}{title}: {figure}")
    return "\n".join(lines)


class Record:
    """What is known of a run, saved after each result: an interrupted run keeps what it has."""

    def __init__(self, file: Path, about: dict[str, Any]):
        self.file = file
        self.content = {**about, "finished": False, "checks": [], "timings": []}
        self.save()

    def add(self, kind: str, row: dict[str, Any]) -> None:
        self.content[kind].append(row)
        self.save()

    def finish(self) -> None:
        self.content["finished"] = True
        self.save()

    def save(self) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(self.content, indent=2) + "\n")
        fresh.replace(self.file)

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed, and of the timings that broke off."""
        return [row["name"] for row in self.content["checks"] + self.content["timings"] if row["status"] == "FAIL"]
