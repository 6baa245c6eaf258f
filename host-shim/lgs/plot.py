"""A `Record` as a picture, drawn with Pillow, which every host has.

Colours are Okabe and Ito's ("Color Universal Design", 2008), which people with any colour vision
tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from .record import Record

WIDTH, HEIGHT, HEADING = 1200, 960, 36
FINE = 2
"""Everything is drawn this many times as large, so that lines are smooth."""

INK, GRID, PAPER = "#222222", "#dddddd", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#e69f00", "#009e73", "#cc79a7"

Points = Sequence[tuple[float, float]]
"""(step, value); a value of nan or, on a scale of powers, of 0 or less is left out."""


class Bars(NamedTuple):
    """Bars on top of those before them."""

    name: str
    colour: str
    points: Points


class Line(NamedTuple):
    """A line with a dot for each point."""

    name: str
    colour: str
    points: Points


class Band(NamedTuple):
    """From a low to a high value at each step."""

    name: str
    colour: str
    low: Points
    high: Points


class Panel(NamedTuple):
    """A diagram: what it shows, in which units, and whether on a scale of powers of ten."""

    title: str
    marks: Sequence[Bars | Line | Band]
    powers: bool = False
    percent: bool = False
    whole: bool = False
    """Counts: no ticks between whole numbers."""


def picture(record: Record, heading: str = "") -> Image.Image:
    """Up to six diagrams over the steps, of what the run had: RGB, ``WIDTH`` by ``HEIGHT``.

    ``heading`` stands above them all: what has to be known before they are looked at.
    """
    record.expect_steps()
    image = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
    draw = ImageDraw.Draw(image)
    panels = panels_of(record)
    top = 0
    if heading:
        top = HEADING * FINE
        draw.rectangle((0, 0, image.width, top), ORANGE)
        draw.text((image.width // 2, top // 2), heading, INK, _font(16 * FINE), anchor="mm")
    columns = 2
    rows = math.ceil(len(panels) / columns)
    width, height = image.width // columns, (image.height - top) // rows
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        _Drawing(draw, (column * width, top + row * height), (width, height), record).panel(panel)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def panels_of(record: Record) -> list[Panel]:
    """What is drawn of a record; of the covariance, of Lanczos and of noise where there was any."""
    steps = list(enumerate(record.steps, 1))

    def over(value: Callable) -> list[tuple[float, float]]:
        return [(number, value(step)) for number, step in steps]

    ritz = [(number, step.ritz_values) for number, step in steps if step.ritz_values.numel()]
    total = math.fsum(step.added_variance for _, step in steps)
    panels = [
        Panel("noise level sigma", [Line("", BLUE, over(lambda step: step.sigma))], powers=True),
        Panel(
            "Ritz values of the Jacobian",
            [
                Band("all of the batch", GREEN, *([(n, f(v).item()) for n, v in ritz] for f in (_min, _max))),
                Line("largest, median", GREEN, [(n, v.amax(dim=1).median().item()) for n, v in ritz]),
            ],
        ),
        Panel(
            "model evaluations",
            [
                Bars("posterior mean", BLUE, over(lambda step: step.model_evaluations - step.for_products)),
                Bars("Jacobian products", ORANGE, over(lambda step: step.for_products)),
            ],
            whole=True,
        ),
        Panel(
            f"Lanczos error {'without the free vector' if record.extended else 'of the noise'}, estimated",
            [Line("", ORANGE, over(lambda step: step.lanczos_error))],
            powers=True,
            percent=True,
        ),
        Panel("seconds", [Bars("", PURPLE, over(lambda step: step.seconds))]),
        Panel(
            "what the covariance adds",
            [
                Bars(
                    "of all that it adds", GREEN, over(lambda step: step.added_variance / total if total else math.nan)
                ),
                Line("of the step's noise", BLUE, over(lambda step: step.covariance_share)),
            ],
            percent=True,
        ),
    ]
    return [panel for panel in panels if any(_shown(points, panel.powers) for points in _points_of(panel.marks))]


def _points_of(marks: Sequence[Bars | Line | Band]) -> list[Points]:
    return [
        points for mark in marks for points in ((mark.low, mark.high) if isinstance(mark, Band) else (mark.points,))
    ]


def _shown(points: Points, powers: bool) -> list[tuple[float, float]]:
    return [(step, value) for step, value in points if math.isfinite(value) and (value > 0 or not powers)]


def _min(values):
    return values.min()


def _max(values):
    return values.max()


class _Drawing:
    """One panel's place on the picture, and its two scales."""

    def __init__(self, draw: ImageDraw.ImageDraw, corner: tuple[int, int], size: tuple[int, int], record: Record):
        self.draw, self.record = draw, record
        (x, y), (width, height) = corner, size
        self.left, self.right = x + 70 * FINE, x + width - 20 * FINE
        self.top, self.bottom = y + 44 * FINE, y + height - 52 * FINE

    def panel(self, panel: Panel) -> None:
        self.powers, self.percent, self.whole = panel.powers, panel.percent, panel.whole
        self.text((self.left, self.top - 34 * FINE), panel.title, 17, "lt")
        self.low, self.high = self._range(panel.marks)
        self._axes()
        heights = [0.0] * (len(self.record.steps) + 1)
        for mark in panel.marks:
            if isinstance(mark, Bars):
                self._bars(mark, heights)
            elif isinstance(mark, Band):
                self._band(mark)
            else:
                self._line(mark)
        self._legend([mark for mark in panel.marks if mark.name])

    def text(self, place: tuple[float, float], text: str, size: int, anchor: str, colour: str = INK) -> float:
        """Writes; gives the width."""
        font = _font(size * FINE)
        self.draw.text(place, text, fill=colour, font=font, anchor=anchor)
        return font.getlength(text)

    def x(self, step: float) -> float:
        return self.left + (step - 0.5) / len(self.record.steps) * (self.right - self.left)

    def y(self, value: float) -> float:
        scale = math.log10 if self.powers else float
        low, high = scale(self.low), scale(self.high)
        return self.bottom - (scale(value) - low) / (high - low) * (self.bottom - self.top)

    def _shown(self, points: Points) -> list[tuple[float, float]]:
        return _shown(points, self.powers)

    def _range(self, marks: Sequence[Bars | Line | Band]) -> tuple[float, float]:
        """What the scale goes from and to."""
        values, stacked = [], {}
        for mark in marks:
            for points in _points_of([mark]):
                for step, value in self._shown(points):
                    if isinstance(mark, Bars):
                        stacked[step] = value = stacked.get(step, 0.0) + value
                    values.append(value)
        low, high = min(values), max(values)
        if self.powers:
            return 10.0 ** math.floor(math.log10(low)), 10.0 ** max(
                math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1
            )
        low, high = min(low, 0.0), max(high, 0.0)
        return low, linear_ticks(low, high if high > low else 1.0, self.whole)[-1]

    def _axes(self) -> None:
        range_ = self.low, self.high
        for value in power_ticks(*range_) if self.powers else linear_ticks(*range_, self.whole):
            y = self.y(value)
            self.draw.line([(self.left, y), (self.right, y)], fill=INK if value == 0 else GRID, width=FINE)
            label = f"{100 * value:g} %" if self.percent else f"{value:g}"
            self.text((self.left - 8 * FINE, y), label, 13, "rm")
        self.draw.line(
            [(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)], fill=INK, width=FINE
        )
        steps = self.record.steps
        # A label takes about 44 pixels.
        every = math.ceil(len(steps) * 44 * FINE / (self.right - self.left))
        for number in range(1, len(steps) + 1, every):
            x = self.x(number)
            self.draw.line([(x, self.bottom), (x, self.bottom + 5 * FINE)], fill=INK, width=FINE)
            self.text((x, self.bottom + 11 * FINE), str(number), 13, "mt")
            self.text((x, self.bottom + 27 * FINE), f"{steps[number - 1].sigma:.2g}", 13, "mt", BLUE)
        self.text((self.left - 8 * FINE, self.bottom + 11 * FINE), "step", 13, "rt")
        self.text((self.left - 8 * FINE, self.bottom + 27 * FINE), "sigma", 13, "rt", BLUE)

    def _half(self, share: float) -> float:
        """Half the width of a mark that is to have twice this share of a step's: neither a hair nor a wall."""
        return min(max(share * (self.right - self.left) / len(self.record.steps), 0.5 * FINE), 20 * FINE)

    def _bars(self, mark: Bars, heights: list[float]) -> None:
        half = self._half(0.36)
        for step, value in self._shown(mark.points):
            base, heights[int(step)] = heights[int(step)], heights[int(step)] + value
            if value > 0:
                x, top = self.x(step), self.y(heights[int(step)])
                self.draw.rectangle([(x - half, top), (x + half, self.y(base))], fill=mark.colour)

    def _band(self, mark: Band) -> None:
        half = self._half(0.3)
        for (step, low), (_, high) in zip(self._shown(mark.low), self._shown(mark.high), strict=True):
            x = self.x(step)
            self.draw.rectangle([(x - half, self.y(high)), (x + half, self.y(low))], fill=_pale(mark.colour))

    def _line(self, mark: Line) -> None:
        places = [(self.x(step), self.y(value)) for step, value in self._shown(mark.points)]
        self.draw.line(places, fill=mark.colour, width=2 * FINE, joint="curve")
        for x, y in places:
            self.draw.circle((x, y), 4 * FINE, fill=mark.colour)

    def _legend(self, marks: Sequence[Bars | Line | Band]) -> None:
        x, y = self.right, self.top - 25 * FINE
        for mark in reversed(marks):
            x -= self.text((x, y), mark.name, 13, "rm") + 8 * FINE
            if isinstance(mark, Line):
                self.draw.line([(x - 18 * FINE, y), (x, y)], fill=mark.colour, width=2 * FINE)
                self.draw.circle((x - 9 * FINE, y), 4 * FINE, fill=mark.colour)
            else:
                colour = mark.colour if isinstance(mark, Bars) else _pale(mark.colour)
                self.draw.rectangle([(x - 14 * FINE, y - 6 * FINE), (x, y + 6 * FINE)], fill=colour)
            x -= 34 * FINE


def linear_ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers from at or above ``low`` to at or above ``high``: four to nine of them, or whole ones alone."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    width = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= raw * 0.999)
    width = max(width, 1.0) if whole else width
    first, last = math.ceil(low / width - 1e-9), math.ceil(high / width - 1e-9)
    return [round(index * width, 12) for index in range(first, last + 1)]


def power_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, and of less than three of them 2 and 5 times each too."""
    first, last = round(math.log10(low)), round(math.log10(high))
    factors = (1, 2, 5) if last - first < 3 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last) for factor in factors]
    every = math.ceil((last - first) / 8)
    return [*ticks[::every], 10.0**last]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _pale(colour: str) -> str:
    """A third of the colour on the paper."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{(part + 2 * 255) // 3:02x}" for part in parts)
