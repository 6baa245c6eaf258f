"""Labelled image grids, as PNG.

Drawn with matplotlib's `figimage`, which copies pixels as they are: a digit's 32 x 32 pixels are
enlarged by repeating them, never interpolated.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

DPI = 100
INK, FAINT, PAPER = "#16181d", "#5f6672", "#ffffff"
MARGIN, GAP, ENLARGE = 28, 4, 2
TILE = 32 * ENLARGE
STEP = TILE + GAP


@dataclasses.dataclass(frozen=True)
class Block:
    """A set of digits under one name."""

    name: str
    notes: list[str]
    """What it cost and what came of it, in a few words each."""
    images: Tensor
    """(n, 1, 32, 32) in [-1, 1]: 0 to 9, again and again."""


def save_grid(file: Path, block: Block, rows: str, footnote: str, columns: int = 12) -> None:
    """One set in ten rows, up to ``columns`` images in each; ``rows`` has the label of each, ? being any."""
    columns = min(columns, len(block.images) // 10)
    tiles, label = _tiles(block.images[: 10 * columns]), 34
    page = _Page(width=2 * MARGIN + label + max(columns, 9) * STEP - GAP)
    page.title(block.name, "   ·   ".join(block.notes))
    for row, digit in enumerate(rows):
        page.text(MARGIN, TILE // 2, digit, size=16, color=FAINT, middle=True)
        for column in range(columns):
            page.tile(MARGIN + label + column * STEP, 0, tiles[10 * column + row])
        page.down(STEP)
    page.down(12)
    page.text(MARGIN, 0, footnote, size=13, color=FAINT)
    page.down(14)
    page.save(file)


def save_overview(file: Path, title: str, note: str, blocks: list[Block], rows: int = 2) -> None:
    """The sets below each other: the name of each to the left of ``rows`` rows of 0 to 9."""
    label = 300
    page = _Page(width=2 * MARGIN + label + 10 * STEP - GAP)
    page.title(title, note)
    for block in blocks:
        shown = min(rows, len(block.images) // 10)
        page.text(MARGIN, 6, block.name, size=17, weight="bold")
        for line, words in enumerate(block.notes):
            page.text(MARGIN, 36 + 20 * line, words, size=13, color=FAINT)
        for place, tile in enumerate(_tiles(block.images[: 10 * shown])):
            page.tile(MARGIN + label + place % 10 * STEP, place // 10 * STEP, tile)
        page.down(max(shown * STEP - GAP, 36 + 20 * len(block.notes)) + 20)
    page.down(-20)
    page.save(file)


def _tiles(images: Tensor) -> np.ndarray:
    """Grey levels (n, 64, 64) of images (n, 1, 32, 32) in [-1, 1]."""
    grey = ((images[:, 0].clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
    return grey.repeat(ENLARGE, axis=1).repeat(ENLARGE, axis=2)


class _Page:
    """A page that grows downwards; positions are pixels from the left and from the current line."""

    def __init__(self, width: int):
        self.width, self.line = width, MARGIN
        self.texts, self.tiles = [], []

    def title(self, title: str, note: str) -> None:
        self.text(MARGIN, 0, title, size=24, weight="bold")
        self.text(MARGIN, 38, note, size=13, color=FAINT)
        self.down(74)

    def text(self, x: int, y: int, text: str, size: int, color=INK, weight="normal", middle=False) -> None:
        """Text whose top, or ``middle``, is at y; ``size`` in pixels."""
        self.texts.append((x, self.line + y, text, size, color, weight, "center" if middle else "top"))

    def tile(self, x: int, y: int, grey: np.ndarray) -> None:
        self.tiles.append((x, self.line + y, grey))

    def down(self, pixels: int) -> None:
        self.line += pixels

    def save(self, file: Path) -> None:
        height = self.line + MARGIN
        figure = Figure(figsize=(self.width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
        canvas = FigureCanvasAgg(figure)
        for x, y, grey in self.tiles:
            figure.figimage(np.stack([grey] * 3, axis=-1), x, height - y - len(grey), origin="upper")
        for x, y, text, size, color, weight, anchor in self.texts:
            figure.text(
                x / self.width,
                1 - y / height,
                text,
                fontsize=size * 72 / DPI,  # in points of 1/72 inch
                color=color,
                fontweight=weight,
                verticalalignment=anchor,
            )
        canvas.print_png(file)
