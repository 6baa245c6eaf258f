"""Where each job's pictures go on contact sheets: settings side by side, the same seed next to itself.

One axis is a row; two are a grid, seeds downward; of more than two each combination of the others is a grid.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from .plan import SEED, Axis, Job, titles

ROW_LENGTH = 8
"""Pictures of a single axis that are one row, and columns of a grid, before it is turned or broken."""
SHAPE = 1.4
"""Width by height of a screen, about which sheets should have."""
FEW_ROWS = 6
"""Rows that stay one above another, however narrow the sheet."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Jobs in rows and columns, under one heading."""

    heading: str
    """What they have in common: values of the axes that ``heading_title`` names."""
    heading_title: str
    column_title: str
    columns: list[str]
    """What each column shows; a single "" where there is nothing to say."""
    row_title: str
    rows: list[str]
    cells: list[list[Job]]
    """By row, then by column."""

    def part(self, rows: range, columns: range) -> Block:
        return dataclasses.replace(
            self,
            columns=[self.columns[at] for at in columns],
            rows=[self.rows[at] for at in rows],
            cells=[[self.cells[row][column] for column in columns] for row in rows],
        )

    @property
    def jobs(self) -> list[Job]:
        return [job for row in self.cells for job in row]


@dataclasses.dataclass(frozen=True)
class Page:
    """Parts of blocks with their places in pixels, and the size of it all."""

    placed: list[tuple[Block, int, int]]
    width: int
    height: int

    @property
    def jobs(self) -> list[Job]:
        return [job for block, _, _ in self.placed for job in block.jobs]


@dataclasses.dataclass(frozen=True)
class Measure:
    """Of what a block is made of, in pixels."""

    cell: tuple[int, int]
    gap: int
    heads: tuple[int, int]
    """The width of what stands left of the rows, the height of what stands above the columns."""
    apart: int
    """Between blocks."""
    most: int
    """The longest side of a page."""

    def size(self, block: Block) -> tuple[int, int]:
        return tuple(
            head + count * (side + self.gap) - self.gap
            for head, count, side in zip(self.heads, (len(block.columns), len(block.rows)), self.cell, strict=True)
        )

    def fit(self) -> tuple[int, int]:
        """How many columns and rows a page has room for."""
        return tuple(
            max(1, (self.most - head + self.gap) // (side + self.gap))
            for head, side in zip(self.heads, self.cell, strict=True)
        )


def blocks(axes: Sequence[Axis], jobs: Sequence[Job]) -> list[Block]:
    """All jobs of a plan, arranged by the axes that differ."""
    differing = [at for at, axis in enumerate(axes) if axis.differs]
    called = dict(zip(differing, titles(jobs[0].graph, list(axes)), strict=True))
    texts = {at: [shown(value) for value in axes[at].values] for at in differing}
    across, down = _sides(differing, called, texts)
    around = [at for at in differing if at not in (*across, *down)]
    strides = [math.prod(len(axis.values) for axis in axes[at + 1 :]) for at in range(len(axes))]

    def choices(side: list[int]) -> list[tuple[int, str]]:
        """For each value of an axis how far on in the plan it is, and how it reads; nothing to choose is one choice."""
        return [(number * strides[at], text) for at in side for number, text in enumerate(texts[at])] or [(0, "")]

    heading_title = " and ".join(called[at] for at in around)
    made = []
    for fixed in itertools.product(*(choices([at]) for at in around)):
        start = sum(step for step, _ in fixed)
        cells = [[jobs[start + row + column] for column, _ in choices(across)] for row, _ in choices(down)]
        heading = ", ".join(f"{called[at]} = {text}" for at, (_, text) in zip(around, fixed, strict=True))
        columns, rows = ([text for _, text in choices(side)] for side in (across, down))
        column_title, row_title = (called[side[0]] if side else "" for side in (across, down))
        made.append(Block(heading, heading_title, column_title, columns, row_title, rows, cells))
    return made


def _sides(differing: list[int], called: dict[int, str], texts: dict[int, list[str]]) -> tuple[list[int], list[int]]:
    """The axis that goes across and the one that goes down, if there are any."""
    seeds = [at for at in differing if called[at] == SEED]
    others = [at for at in differing if at not in seeds]
    across = others[-1:] or seeds
    down = (seeds or others[-2:-1]) if others else []
    if down and len(texts[across[0]]) > ROW_LENGTH >= len(texts[down[0]]):
        return down, across
    return across, down


def shown(value: object) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value) or "(empty)"


def pages(whole: Sequence[Block], measure: Measure) -> list[Page]:
    """The blocks, broken where they are too long, from left to right and from top to bottom of each page."""
    parts = [part for block in whole for part in _broken(block, measure, alone=len(whole) == 1)]
    row = whole[0].rows == [""]
    widest = 1 if row else 1 + measure.most // min(measure.size(part)[0] for part in parts)
    ways = [_flow(parts, measure, across) for across in range(1, widest + 1)]
    fewest = min(map(len, ways))
    return min((way for way in ways if len(way) == fewest), key=_out_of_shape)


def _broken(block: Block, measure: Measure, alone: bool) -> list[Block]:
    """A block in parts of about one size, each of which fits on a page."""
    columns, rows = measure.fit()
    if block.rows == [""] and len(block.columns) > ROW_LENGTH:
        across, down = measure.cell[0] + measure.gap, measure.heads[1] + measure.cell[1] + measure.apart
        columns = min(columns, math.ceil(math.sqrt(SHAPE * len(block.columns) * down / across)))
    if alone and len(block.rows) > FEW_ROWS:
        width, height = measure.size(block)
        rows = min(rows, math.ceil(len(block.rows) / max(1, round(math.sqrt(SHAPE * height / width)))))
    return [block.part(r, c) for r in _runs(len(block.rows), rows) for c in _runs(len(block.columns), columns)]


def _runs(count: int, most: int) -> list[range]:
    """``count`` things in as few runs as there must be, of about one length."""
    length = math.ceil(count / math.ceil(count / most))
    return [range(start, min(start + length, count)) for start in range(0, count, length)]


def _flow(parts: Sequence[Block], measure: Measure, across: int) -> list[Page]:
    """At most so many parts on a line, as many lines on a page as it has room for."""
    made, placed, x, y, line, count = [], [], 0, 0, 0, 0

    def end_page() -> None:
        sizes = [(left + measure.size(part)[0], top + measure.size(part)[1]) for part, left, top in placed]
        made.append(Page(list(placed), max(w for w, _ in sizes), max(h for _, h in sizes)))

    for part in parts:
        width, height = measure.size(part)
        if count == across or (x and x + width > measure.most):
            x, y, line, count = 0, y + line + measure.apart, 0, 0
        if placed and y + height > measure.most:
            end_page()
            placed, x, y, line, count = [], 0, 0, 0, 0
        placed.append((part, x, y))
        x, line, count = x + width + measure.apart, max(line, height), count + 1
    end_page()
    return made


def _out_of_shape(way: Sequence[Page]) -> float:
    """How far the first page is from the shape of a screen."""
    return abs(math.log(way[0].width / (SHAPE * way[0].height)))
