"""The demo as a part of the evidence: its numbers as a table."""

from __future__ import annotations

from pathlib import Path

from evidence.report.run import Figure, Findings, Numbers, Run, Section, Table, Unavailable

FIGURE = "overview.png"
HEAD = (
    "sampler",
    "label",
    "steps",
    "evaluations",
    "Fréchet distance",
    "kernel distance",
    "classified as requested",
    "variety",
)


def measure(run: Run) -> Numbers:
    raise Unavailable("make demo measures it")


def show(numbers: Numbers, folder: Path) -> Findings:
    """Of what ``demo.json`` has."""
    rows = [
        (
            row["name"],
            "any digit" if row["any_digit"] else "0 to 9",
            str(row["steps"]),
            str(row["model_evaluations"]),
            *_cells(row["distances"]),
        )
        for row in numbers["samplers"]
    ]
    rows.append(("real digits", "", "", "", *_cells(numbers["real"]["distances"])))
    images, reference = (numbers["real"]["distances"][name] for name in ("images", "reference"))
    caption = f"{images:,} digits a sampler, from the same noise; distances to {reference:,} held-out real digits."
    return Findings(
        [],
        [Figure(folder / FIGURE, "The same noise, sampler by sampler", caption)],
        [Table(f"{images:,} digits from each sampler, from the same noise", HEAD, rows)],
    )


def _cells(distances: dict) -> tuple[str, ...]:
    read, variety = distances["as_requested"], distances["variety"]
    return (
        f"{distances['frechet']:.3f}",
        f"{distances['kernel']:z.4f}".replace("-", "−"),
        "" if read is None else f"{read:.1%}",
        "" if variety is None else f"{variety:.2f}",
    )


SECTION = Section(
    "digits",
    "Digits, sampler by sampler",
    "What does each sampler make of the same noise with the bundled model, and how far is that from real digits?",
    measure,
    show,
    remarks=(
        "At equal steps LGS is closer to real digits where steps are large for what is left to decide: for any digit, "
        "and in fewer steps than here. It keeps the variety within a digit, which isotropic noise narrows.",
        "For labelled digits in ten steps it is level with isotropic noise by the Fréchet distance. Ten isotropic "
        "steps are near the best that this model can do; LGS also draws the few digits that the model draws badly, "
        "and the Fréchet distance is sensitive to those.",
        "At equal evaluations more isotropic steps do as well or better on this small model.",
        "The node's defaults (η = 0.5) suit photographs; labelled digits come out better with η = 1.",
    ),
)
