"""The report's figures: plotly figures under one layout, and the shift maps' numbers and colours.

Ink, grid and hover colours are left to the page's style sheet, so that a figure follows dark mode. Names and commands
are escaped here, because plotly reads its texts as HTML.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle, pairwise

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from poolbench.report.records import Result, metric
from poolbench.report.statistics import frontier
from poolbench.report.summary import ACCURACY, CONSISTENCY, Json

PALETTE = ("#3b7dd8", "#d1602c", "#2a9a6c", "#a35bc2", "#b8860b", "#cf4a6b", "#2b98ad", "#86755a", "#6d74d6", "#74932a")
MUTED = "#8b8f98"
MAP_SCALE = "Cividis"

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


def tradeoff(cells: Mapping[str, Json], names: Mapping[str, str], colors: Mapping[str, str]) -> go.Figure:
    """Accuracy against shift consistency: a point a cell with both intervals, and a dotted line along the frontier."""
    points = {cell: (_shown(summary, ACCURACY)[0], _shown(summary, CONSISTENCY)[0]) for cell, summary in cells.items()}
    edge = [points[cell] for cell in frontier(points)]
    figure = go.Figure(layout=LAYOUT)
    figure.add_scatter(
        x=[x for x, _ in edge],
        y=[y for _, y in edge],
        mode="lines",
        line={"color": MUTED, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )
    positions = label_positions(points, names)
    reach: dict[str, list[float]] = {"x": [], "y": []}
    for cell, summary in cells.items():
        (x, x_margin), (y, y_margin) = _shown(summary, ACCURACY), _shown(summary, CONSISTENCY)
        reach["x"] += [x - (x_margin or 0), x + (x_margin or 0)]
        reach["y"] += [y - (y_margin or 0), y + (y_margin or 0)]
        bar = {"type": "data", "thickness": 1.25, "width": 0, "color": _faint(colors[cell])}
        figure.add_scatter(
            x=[x],
            y=[y],
            error_x={"array": [x_margin], **bar},
            error_y={"array": [y_margin], **bar},
            mode="markers+text",
            marker={"color": colors[cell], "size": 11},
            text=[escape(names[cell])],
            textposition=positions[cell],
            cliponaxis=False,
            hovertemplate=_hover(names[cell], summary) + "<extra></extra>",
        )
    figure.update_xaxes(title_text=metric(ACCURACY).heading, range=_padded(reach["x"], 0.1))
    figure.update_yaxes(title_text=metric(CONSISTENCY).heading, range=_padded(reach["y"], 0.06))
    return figure.update_layout(height=500)


def label_positions(points: Mapping[str, tuple[float, float]], names: Mapping[str, str]) -> dict[str, str]:
    """Where each point's name goes so that names keep off each other and off points, as far as four places allow.

    Sizes are shares of a plot 640 pixels wide and 400 high.
    """
    width, height = 640, 400
    spans = [max(values) - min(values) or 1.0 for values in zip(*points.values(), strict=True)]
    dots = {cell: (x / spans[0] * width, y / spans[1] * height) for cell, (x, y) in points.items()}
    taken = [(x - 7, x + 7, y - 7, y + 7) for x, y in dots.values()]
    chosen = {}
    for cell, (x, y) in dots.items():
        length = 7.5 * len(names[cell])
        boxes = {
            "top center": (x - length / 2, x + length / 2, y + 8, y + 24),
            "bottom center": (x - length / 2, x + length / 2, y - 24, y - 8),
            "middle right": (x + 9, x + 9 + length, y - 8, y + 8),
            "middle left": (x - 9 - length, x - 9, y - 8, y + 8),
        }
        chosen[cell] = min(boxes, key=lambda place: sum(_overlap(boxes[place], other) for other in taken))
        taken.append(boxes[chosen[cell]])
    return chosen


def learning_curve(runs: Sequence[Result], band: Mapping[int, tuple[float, float]], color: str) -> go.Figure:
    """Validation accuracy by epoch: a line a seed, over the grey band that all cells' runs span.

    `band` gives the lowest and the highest accuracy of any run at an epoch.
    """
    epochs = sorted(band)
    figure = go.Figure(layout=LAYOUT)
    figure.add_scatter(
        x=[*epochs, *reversed(epochs)],
        y=[100 * band[epoch][1] for epoch in epochs] + [100 * band[epoch][0] for epoch in reversed(epochs)],
        fill="toself",
        fillcolor=_faint(MUTED, 0.18),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
    )
    for run in runs:
        history = run.metrics["history"]
        figure.add_scatter(
            x=[epoch["epoch"] for epoch in history],
            y=[100 * epoch["validation_top1"] for epoch in history],
            mode="lines+markers",
            line={"color": color, "width": 1.75},
            marker={"size": 4},
            hovertemplate=f"seed {run.seed}, epoch %{{x}}: %{{y:.1f}} %<extra></extra>",
        )
    figure.update_xaxes(tickformat="d", nticks=5, dtick=1 if len(epochs) <= 6 else None)
    figure.update_yaxes(nticks=4, range=_padded([100 * end for ends in band.values() for end in ends], 0.06))
    return figure.update_layout(height=170, margin={"l": 30, "r": 8, "t": 6, "b": 24}, font={"size": 11})


def learning_band(results: Sequence[Result]) -> dict[int, tuple[float, float]]:
    """The lowest and the highest validation accuracy of any run at each epoch."""
    accuracies: dict[int, list[float]] = {}
    for run in results:
        for epoch in run.metrics["history"]:
            accuracies.setdefault(epoch["epoch"], []).append(epoch["validation_top1"])
    return {epoch: (min(values), max(values)) for epoch, values in accuracies.items()}


def cell_colors(cells: Iterable[str]) -> dict[str, str]:
    """The colour that each cell has in every figure; more cells than colours share them."""
    return dict(zip(cells, cycle(PALETTE), strict=False))


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


def diagonal(by_cell: Mapping[str, Sequence[Result]], example: int, colors: Mapping[str, str]) -> go.Figure:
    """Probability of the true class of one example picture along the diagonal, a line a cell, averaged over seeds."""
    figure = go.Figure(layout=LAYOUT)
    for cell, runs in by_cell.items():
        lines = [run.metrics["shift"]["diagonal"]["probability"][example] for run in runs]
        figure.add_scatter(
            x=runs[0].metrics["shift"]["diagonal"]["steps"],
            y=[100 * sum(values) / len(lines) for values in zip(*lines, strict=True)],
            mode="lines+markers",
            line={"color": colors[cell], "width": 1.75},
            marker={"size": 4},
            name=escape(cell),
            hovertemplate=f"{escape(cell)}, shift %{{x}}: %{{y:.0f}} %<extra></extra>",
        )
    figure.update_xaxes(tickformat="d", nticks=7)
    figure.update_yaxes(range=[-3, 103], nticks=4)
    return figure.update_layout(height=170, margin={"l": 30, "r": 8, "t": 6, "b": 24}, font={"size": 11})


def layers(by_cell: Mapping[str, Sequence[Result]], names: Mapping[str, str], colors: Mapping[str, str]) -> go.Figure:
    """Equivariance error of each layer, from the first to the last: a line a cell, averaged over seeds."""
    figure = go.Figure(layout=LAYOUT)
    for cell, runs in by_cell.items():
        found = [run.metrics["layers"] for run in runs]
        figure.add_scatter(
            x=list(found[0]),
            y=[sum(errors[layer][0] for errors in found) / len(found) for layer in found[0]],
            mode="lines+markers",
            line={"color": colors[cell], "width": 1.75},
            marker={"size": 5},
            name=escape(names[cell]),
            hovertemplate=f"{escape(names[cell])}, n = {len(runs)}, %{{x}}: %{{y:.3f}}<extra></extra>",
        )
    figure.update_yaxes(title_text="Equivariance error", rangemode="tozero")
    return figure.update_layout(
        height=420,
        showlegend=True,
        legend={"orientation": "h", "y": -0.15, "entrywidth": 0.24, "entrywidthmode": "fraction"},
    )


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


def _shown(summary: Json, key: str) -> tuple[float, float | None]:
    """A metric's mean and half its interval, as shown."""
    section, name = key.split(".")
    estimate, scale = summary[section][name], metric(key).scale
    margin = None if estimate["low"] is None else (estimate["high"] - estimate["mean"]) * scale
    return estimate["mean"] * scale, margin


def _padded(values: Sequence[float], share: float) -> list[float]:
    """The values' range with room for names on either side."""
    room = share * (max(values) - min(values) or 1.0)
    return [min(values) - room, max(values) + room]


def _hover(name: str, summary: Json) -> str:
    lines = [f"<b>{escape(name)}</b>, n = {len(summary['seeds'])}"]
    for key in (ACCURACY, CONSISTENCY):
        section, field = key.split(".")
        estimate = summary[section][field]
        lines.append(f"{metric(key).quantity(estimate['mean'])} {metric(key).title} ({metric(key).interval(estimate)})")
    return "<br>".join([*lines, "", *map(escape, textwrap.wrap(summary["command"], 56))])


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> float:
    across = min(box[1], other[1]) - max(box[0], other[0])
    along = min(box[3], other[3]) - max(box[2], other[2])
    return max(across, 0.0) * max(along, 0.0)


def _faint(color: str, opacity: float = 0.55) -> str:
    red, green, blue = (int(color[start:end], 16) for start, end in pairwise((1, 3, 5, 7)))
    return f"rgba({red},{green},{blue},{opacity})"
