"""Small pictures that the page holds by the hundred: line charts as paths of an SVG, maps of numbers as PNG.

Unlike plotly's figures they need no script, follow dark mode by themselves and print sharply.
"""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

Point = tuple[float, float]
Span = tuple[float, float]

LEFT, RIGHT, TOP, BOTTOM = 30, 6, 6, 16
"""Margins in SVG units: room for the ticks."""


@dataclass(frozen=True)
class Line:
    """Points in the chart's own numbers, what hovering says, and a colour; without one, the page's accent."""

    points: Sequence[Point]
    title: str = ""
    color: str = "var(--accent)"
    dotted: bool = False


@dataclass(frozen=True)
class Path:
    """A line as an SVG draws it."""

    points: str
    title: str
    color: str
    dotted: bool


@dataclass(frozen=True)
class Chart:
    """A line chart, ready to be drawn: places in SVG units."""

    width: int
    height: int
    paths: Sequence[Path]
    band: str
    across: Sequence[tuple[float, str]]
    """Ticks of the x axis: place and text."""
    up: Sequence[tuple[float, str]]


def chart(
    lines: Sequence[Line],
    x: Span,
    y: Span,
    *,
    band: Sequence[Point] = (),
    size: tuple[int, int] = (190, 120),
    bare: bool = False,
) -> Chart:
    """Lines, and a grey `band` (a closed outline), between the ends of the axes; a `bare` chart has no ticks.

    >>> chart([Line([(0, 0), (1, 10)])], (0, 1), (0, 10), size=(100, 50), bare=True).paths[0].points
    '2,48 98,2'
    """
    width, height = size
    left, right, top, bottom = (2, 2, 2, 2) if bare else (LEFT, RIGHT, TOP, BOTTOM)

    def across(value: float) -> float:
        return round(left + (value - x[0]) / (x[1] - x[0] or 1) * (width - left - right), 1)

    def up(value: float) -> float:
        return round(height - bottom - (value - y[0]) / (y[1] - y[0] or 1) * (height - top - bottom), 1)

    def placed(points: Sequence[Point]) -> str:
        return " ".join(f"{across(a):g},{up(b):g}" for a, b in points)

    return Chart(
        width,
        height,
        [Path(placed(line.points), line.title, line.color, line.dotted) for line in lines],
        placed(band),
        []
        if bare
        else [(across(tick), f"{tick:g}") for tick in ticks(*x, whole=all(float(e).is_integer() for e in x))],
        [] if bare else [(up(tick), f"{tick:g}") for tick in ticks(*y)],
    )


def ticks(low: float, high: float, count: int = 3, whole: bool = False) -> list[float]:
    """At most `count` + 1 round numbers from `low` to `high`.

    >>> ticks(0.5, 3.2)
    [1.0, 2.0, 3.0]
    """
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    if whole:
        step = max(round(step), 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def spread(values: Sequence[float], room: float = 0.06) -> Span:
    """The ends of an axis that holds all values, with a little room.

    >>> spread([0.0, 1.0], 0.5)
    (-0.5, 1.5)
    """
    low, high = min(values), max(values)
    margin = room * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin


def grey(pixels: Tensor, span: Span) -> str:
    """A map (rows, columns) as a PNG's data URI, black at the low end of `span` and white at the high one."""
    shares = ((pixels - span[0]) / ((span[1] - span[0]) or 1.0)).clamp(0, 1)
    return png((255 * shares)[..., None].expand(*shares.shape, 3))


def signed(pixels: Tensor) -> str:
    """A map (rows, columns) as a PNG's data URI: black at 0, orange above it, blue below it."""
    shares = (pixels / (pixels.abs().max().clamp(min=1e-30)))[..., None]
    above, below = torch.tensor([255.0, 176.0, 64.0]), torch.tensor([64.0, 150.0, 255.0])
    return png(shares.clamp(min=0) * above - shares.clamp(max=0) * below)


def png(colors: Tensor) -> str:
    """Colours (rows, columns, 3) from 0 to 255 as a PNG's data URI."""
    file = io.BytesIO()
    Image.fromarray(colors.round().to(torch.uint8).numpy()).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
