"""The report's figures: plotly figures under one layout, and the shift maps' numbers and colours.

Ink, grid and hover colours are left to the page's style sheet, so that a figure follows dark mode. Names and commands
are escaped here, because plotly reads its texts as HTML.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from poolbench.report.records import Result, metric
from poolbench.report.summary import Json, estimated

POINT = "#3b7dd8"
MUTED = "#8b8f98"
MAP_SCALE = "Cividis"
MARKS = 8
"""Of a logarithmic axis, at most."""
LABELLED = 14
"""Up to how many points each has its name beside it."""

LAYOUT = go.Layout(
    template="none",
    paper_bgcolor="rgba(0,0,0,0)",
    plot_bgcolor="rgba(0,0,0,0)",
    font={"size": 13},
    margin={"l": 56, "r": 24, "t": 12, "b": 48},
    xaxis={"zeroline": False, "automargin": True, "title": {"standoff": 12}},
    yaxis={"zeroline": False, "automargin": True, "title": {"standoff": 12}},
    hoverlabel={"align": "left"},
    dragmode=False,
    showlegend=False,
)


def scatter(summary: Json, study: Json, x: str, y: str, shade: str | None = None) -> go.Figure:
    """A study's cells by two metrics, with both intervals, shaded by a third; a ring marks those that no other beats.

    Hovering shows a cell's figures and the command that repeats it. Where cells are many, only those have a name.
    """
    cells, names = [place["cell"] for place in study["rankings"][x]], study["names"]
    points = {cell: (_shown(summary, cell, x)[0], _shown(summary, cell, y)[0]) for cell in cells}
    margins = {cell: (_shown(summary, cell, x)[1], _shown(summary, cell, y)[1]) for cell in cells}
    labelled = {cell: names[cell] for cell in cells if len(cells) <= LABELLED or cell in study["frontier"]}
    places = {cell: (_along(across, x), _along(up, y)) for cell, (across, up) in points.items()}
    positions = label_positions(places, labelled)
    figure = go.Figure(layout=LAYOUT)
    bar = {"type": "data", "thickness": 1.25, "width": 0, "color": _faint(MUTED)}
    figure.add_scatter(
        x=[points[cell][0] for cell in cells],
        y=[points[cell][1] for cell in cells],
        error_x={"array": [margins[cell][0] for cell in cells], **bar},
        error_y={"array": [margins[cell][1] for cell in cells], **bar},
        mode="markers+text",
        marker={
            "size": [13 if cell in study["frontier"] else 9 for cell in cells],
            "line": {"color": MUTED, "width": [3 if cell in study["frontier"] else 1 for cell in cells]},
            "opacity": 1,
            **_shading(summary, cells, shade),
        },
        text=[escape(labelled.get(cell, "")) for cell in cells],
        textposition=[positions.get(cell, "top center") for cell in cells],
        hovertext=[_hover(summary, cell, names[cell], study["ranked"]) for cell in cells],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_xaxes(title_text=metric(x).heading, **_axis([places[cell][0] for cell in cells], x))
    figure.update_yaxes(title_text=metric(y).heading, **_axis([places[cell][1] for cell in cells], y))
    return figure.update_layout(height=480)


def _along(value: float, key: str) -> float:
    """Where a value lies on its axis: times differ by factors."""
    return math.log10(value) if metric(key).timed else value


def _axis(places: Sequence[float], key: str) -> dict[str, Any]:
    """An axis that keeps the means apart; bars longer than that leave the plot."""
    room = 0.18 * (max(places) - min(places) or 0.1)
    ends = {"range": [min(places) - room, max(places) + room]}
    return ends | ({"type": "log", **_marks(*ends["range"])} if metric(key).timed else {})


def _marks(low: float, high: float) -> dict[str, Any]:
    """Some numbers on a logarithmic axis between two powers of ten, as round as they can be."""
    powers = range(-6, 7)
    for factors in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        numbers = [factor * 10.0**power for power in powers for factor in factors]
        shown = [number for number in numbers if low <= math.log10(number) <= high]
        if len(shown) > 1:
            break
    else:  # so near each other that they are as good as a plain axis
        first, last = 10**low, 10**high
        steps = (factor * 10.0**power for power in powers for factor in (1, 2, 5))
        step = next(step for step in steps if (last - first) / step < MARKS)
        shown = [number * step for number in range(math.ceil(first / step), math.floor(last / step) + 1)]
    shown = shown[:: max(math.ceil(len(shown) / MARKS), 1)]
    return {"tickvals": shown, "ticktext": [f"{number:,g}" for number in shown]}


def _shading(summary: Json, cells: Sequence[str], key: str | None) -> dict[str, Any]:
    if key is None:
        return {"color": POINT}
    values = [_shown(summary, cell, key)[0] for cell in cells]
    ends = sorted({min(values), max(values)})
    return {
        "color": [_along(value, key) for value in values],
        "colorscale": MAP_SCALE,
        "reversescale": not metric(key).higher_is_better,
        "showscale": True,
        "colorbar": {
            "title": {"text": metric(key).heading, "side": "top"},
            "orientation": "h",
            "thickness": 8,
            "len": 0.45,
            "x": 1,
            "xanchor": "right",
            "y": 1.02,
            "yanchor": "bottom",
            "ypad": 0,
            "outlinewidth": 0,
            "tickvals": [_along(end, key) for end in ends],
            "ticktext": [f"{end:,.{metric(key).digits}f}" for end in ends],
        },
    }


def label_positions(points: Mapping[str, tuple[float, float]], names: Mapping[str, str]) -> dict[str, str]:
    """Where the names of points go so that they keep off each other and off points, as far as four places allow.

    Sizes are shares of a plot 640 pixels wide and 400 high.
    """
    width, height = 640, 400
    spans = [max(values) - min(values) or 1.0 for values in zip(*points.values(), strict=True)]
    dots = {cell: (x / spans[0] * width, y / spans[1] * height) for cell, (x, y) in points.items()}
    taken = [(x - 7, x + 7, y - 7, y + 7) for x, y in dots.values()]
    chosen = {}
    for cell, name in names.items():
        (x, y), length = dots[cell], 7.5 * len(name)
        boxes = {
            "top center": (x - length / 2, x + length / 2, y + 8, y + 24),
            "bottom center": (x - length / 2, x + length / 2, y - 24, y - 8),
            "middle right": (x + 9, x + 9 + length, y - 8, y + 8),
            "middle left": (x - 9 - length, x - 9, y - 8, y + 8),
        }
        chosen[cell] = min(boxes, key=lambda place: sum(_overlap(boxes[place], other) for other in taken))
        taken.append(boxes[chosen[cell]])
    return chosen


@dataclass(frozen=True)
class Square:
    """One shift of a shift map: `dx`, `dy` in pixels, mean accuracy there, and its colour."""

    dx: int
    dy: int
    accuracy: float
    color: str


def shift_maps(by_cell: Mapping[str, Sequence[Result]]) -> tuple[dict[str, list[Square]], tuple[float, float]]:
    """Each cell's accuracy at every shift, averaged over seeds, and the ends of the colour scale that maps share."""
    means = {cell: _mean_map(runs) for cell, runs in by_cell.items()}
    values = [value for places in means.values() for value in places.values()]
    low, high = min(values), max(values)
    return {cell: _squares(places, low, high) for cell, places in means.items()}, (low, high)


def map_gradient(steps: int = 8) -> list[str]:
    """Colours from the low to the high end of the shift maps' scale."""
    colors: list[str] = sample_colorscale(MAP_SCALE, steps)
    return colors


def _mean_map(runs: Sequence[Result]) -> dict[tuple[int, int], float]:
    """Mean accuracy at each shift (dx, dy), the picture in place at (0, 0), row by row."""
    found: dict[tuple[int, int], list[float]] = {}
    for shift in (run.metrics["shift"] for run in runs):
        found.setdefault((0, 0), []).append(shift["accuracy"])
        for (dy, dx), accuracy in zip(shift["moves"], shift["accuracy_by_move"], strict=True):
            found.setdefault((dx, dy), []).append(accuracy)
    in_order = sorted(found, key=lambda place: (place[1], place[0]))
    return {place: sum(found[place]) / len(found[place]) for place in in_order}


def _squares(places: Mapping[tuple[int, int], float], low: float, high: float) -> list[Square]:
    colors = sample_colorscale(MAP_SCALE, [(value - low) / (high - low or 1.0) for value in places.values()])
    return [Square(dx, dy, value, color) for ((dx, dy), value), color in zip(places.items(), colors, strict=True)]


def _shown(summary: Json, cell: str, key: str) -> tuple[float, float | None]:
    """A metric's mean and half its interval, as shown."""
    found, scale = estimated(summary, cell, key), metric(key).scale
    assert found is not None  # a study ranks by what all its cells have
    margin = None if found["low"] is None else (found["high"] - found["mean"]) * scale
    return found["mean"] * scale, margin


def _hover(summary: Json, cell: str, name: str, keys: Sequence[str]) -> str:
    lines = [f"<b>{escape(name)}</b>, n = {len(summary['cells'][cell]['seeds'])}"]
    for key in keys:
        found = estimated(summary, cell, key)
        assert found is not None
        lines.append(f"{metric(key).quantity(found['mean'])} {metric(key).title} ({metric(key).interval(found)})")
    return "<br>".join([*lines, "", *map(escape, textwrap.wrap(summary["cells"][cell]["command"], 56))])


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> float:
    across = min(box[1], other[1]) - max(box[0], other[0])
    along = min(box[3], other[3]) - max(box[2], other[2])
    return max(across, 0.0) * max(along, 0.0)


def _faint(color: str, opacity: float = 0.55) -> str:
    red, green, blue = (int(color[start:end], 16) for start, end in pairwise((1, 3, 5, 7)))
    return f"rgba({red},{green},{blue},{opacity})"
