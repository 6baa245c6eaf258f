"""What ``make report`` writes: ``index.html``, one page that needs nothing beside it, and ``report.json``."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import torch

import lgs

from .run import Findings, Section

PACKAGES = ("torch", "numpy", "scipy", "torchmetrics", "k-diffusion", "prdc", "POT")


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A section as the page shows it: what it found, or else the problem for which it could not."""

    id: str
    title: str
    question: str
    basis: dict[str, Any]
    """Under what the numbers were measured: see `basis`."""
    findings: Findings | None = None
    problem: str | None = None
    unfinished: bool = False
    remarks: tuple[str, ...] = ()


def basis(quick: bool) -> dict[str, Any]:
    """What numbers of this run rest on: versions, device, threads, day, commit, and whether it is a quick look."""
    about = lgs.info()
    versions = {"python": platform.python_version(), "lgs": about["lgs"]}
    versions |= {package: metadata.version(package) for package in PACKAGES}
    device = f"{platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}"
    return {
        "quick": quick,
        "versions": versions,
        "device": device,
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
    }


def commit() -> str | None:
    """The commit that is checked out, with a plus where files differ from it; None where there is no git to ask."""
    try:
        asked = {"cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": True}
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **asked).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **asked).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + "+" * bool(changed)


def plain(numbers: dict[str, Any]) -> dict[str, Any]:
    """The numbers as they come back from the file: keys are texts, tuples are lists.

    Raises a ValueError for a number that is not finite, which JSON cannot say.
    """
    return json.loads(json.dumps(numbers, allow_nan=False))


def chapter(section: Section, entry: dict[str, Any], folder: Path) -> Chapter:
    """The section with its entry in ``report.json``, its numbers and what they are about; draws its figures into
    the folder."""
    about, numbers = entry["about"], {name: value for name, value in entry.items() if name != "about"}
    known = section.id, section.title, section.question, about["basis"]
    if "problem" in about:
        return Chapter(*known, problem=about["problem"])
    unfinished = about.get("unfinished", False)
    return Chapter(*known, section.show(numbers, folder), unfinished=unfinished, remarks=section.remarks)


def render(chapters: list[Chapter]) -> str:
    """The page, figures and all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("page.html.j2").render(chapters=chapters)


def write(file: Path, text: str) -> None:
    """Writes all of it or nothing: whoever reads the file meanwhile, or after a crash, finds the old one."""
    new = file.with_name(file.name + ".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, file)


def _data_uri(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")
