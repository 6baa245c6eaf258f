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
        "The node's defaults, the secant without noise, are nearer to real digits than every other deterministic "
        "sampler in as many evaluations. Against them: samplers that add noise on the way are nearer still, the SDE of "
        "DPM-Solver++(2M) most of all, by the Fréchet and by the kernel distance.",
        "Isotropic noise in ten steps is ahead of every setting of LGS with a label but one by the Fréchet distance; "
        "it narrows the variety within a digit the most of all.",
        "At equal evaluations more isotropic steps do as well as products or better on this small model.",
    ),
)
