"""The report's page: one HTML file with everything inside, which opens without a network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from poolbench.report import figures, learning, objects, operators, pictures, shifts
from poolbench.report.answer import NAMED, answer, finding, listing
from poolbench.report.changes import changes
from poolbench.report.records import METRICS, Result, metric
from poolbench.report.summary import CONSISTENCY, SPEED, Json, estimated, flat, group
from poolbench.report.tables import rank_range

COSTS = ("cost", "duration")
ELSEWHERE = ("shift", *COSTS)
"""Sections of an evaluation with a part of their own on the page."""

ByCell = Mapping[str, Sequence[Result]]


def render(summary: Json, results: Sequence[Result], other: Mapping[str, Any] | None = None) -> str:
    """The whole page as HTML, from the summary of these results, beside that of an `other` report.

    Texts from configurations are escaped.
    """
    templates = Environment(
        loader=PackageLoader("poolbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        listing=listing, named=lambda cells, names: [names[cell] for cell in cells], short="{:.6g}".format
    )
    templates.globals.update(
        metric=metric,
        rank_range=rank_range,
        answer=answer,
        finding=finding,
        options=operators.options,
        estimated=lambda cell, key: estimated(summary, cell, key),
        gradient=figures.map_gradient(),
        NAMED=NAMED,
    )
    by_cell = group(results)
    return templates.get_template("index.html.j2").render(
        summary=summary,
        studies={name: _study(summary, study, by_cell) for name, study in summary["studies"].items()},
        cards=operators.cards(summary),
        protocols=shifts.protocols(_having(by_cell, "shift", "shifts")),
        looks=_looks(results),
        trained={key: _values(values) for key, values in summary["trained"].items()},
        environment=flat(summary["environment"]),
        changes=changes(summary, other) if other else {},
        other=other,
        seeds=sorted({len(cell["seeds"]) for cell in summary["cells"].values()}),
        runs=len(results),
        plotly=get_plotlyjs() if results else "",
    )


@dataclass(frozen=True)
class Scale:
    """The axis on which a study's intervals of one metric are drawn: a value's place is a share of 0 to 100."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where on the axis a value lies, in percent.

        >>> Scale(0.5, 1.0).place(0.75)
        50.0
        """
        return round(100 * (value - self.low) / ((self.high - self.low) or 1.0), 2)


def _study(summary: Json, study: Json, by_cell: ByCell) -> Json:
    """What the page shows of one study besides its summary; of a part that no cell has, nothing."""
    ranked = study["ranked"]
    cells = [place["cell"] for place in study["rankings"][ranked[0]]]
    own = {cell: by_cell[cell] for cell in cells}
    moved = _having(own, "shift")
    sections = dict.fromkeys(each.key.partition(".")[0] for each in METRICS)
    return {
        "scales": {key: _scale(places) for key, places in study["rankings"].items()},
        "frontier": _frontier(summary, study),
        "speed": _speed(summary, study),
        "test": shifts.columns(summary, cells, *(name for name in sections if name not in ELSEWHERE)),
        "cost": shifts.columns(summary, cells, *COSTS),
        "shift": shifts.columns(summary, cells, "shift"),
        "maps": _given(_maps, moved),
        "protocols": _given(shifts.protocols, _having(moved, "shifts")),
        "picture_margin": _given(shifts.picture_margin, moved),
        "layers": _given(shifts.layers, _having(own, "layers", "geometry")),
        "examples": _given(shifts.examples, _having(moved, "pictures")),
        "flips": _given(shifts.flips, _having(moved, "pictures")),
        "predictions": _given(
            _predictions, _having({cell: own[cell] for cell in cells if cell not in moved}, "pictures")
        ),
        "displaced": _given(objects.displaced, _having(own, "displaced")),
        "swaps": _given(shifts.swaps, _having(moved, "swaps")),
        "robustness": _given(shifts.robustness, _having(own, "robustness")),
        "sizes": _given(pictures.sizes, _having(own, "sizes")),
        "refusals": _given(pictures.refusals, _having(own, "sizes")),
        "passes": _given(pictures.passes, _having(own, "passes")),
        "activations": _given(pictures.activations, _having(own, "activations")),
        "progress": _given(lambda runs: learning.progress(runs, ranked[0]), _having(own, "history")),
        "learned": _given(learning.learned, _having(own, "learned")),
        "calibration": _given(learning.calibration, _having(own, "reliability")),
        "confusion": _given(learning.confusion, _having(own, "confusion")),
        "classes": _classes(own),
    }


def _predictions(by_cell: ByCell) -> dict[str, Sequence[str]]:
    """The pictures that an evaluation drew predictions into, of each cell's first run."""
    return {cell: list(runs[0].metrics["pictures"].values()) for cell, runs in by_cell.items()}


def _classes(by_cell: ByCell) -> Sequence[str]:
    """The classes that a study's cells tell apart, none where they tell different ones or too many to list."""
    found = {tuple(run.metrics["data"].get("classes", ())) for runs in by_cell.values() for run in runs}
    return next(iter(found)) if len(found) == 1 and len(next(iter(found))) <= learning.MOST_CLASSES else ()


def _having(by_cell: ByCell, *sections: str) -> dict[str, Sequence[Result]]:
    """The cells of whose runs all were measured so; a task has sections of its own."""
    return {
        cell: runs
        for cell, runs in by_cell.items()
        if all(run.metrics.get(section) is not None for run in runs for section in sections)
    }


def _given(part: Callable[[ByCell], Any], by_cell: ByCell) -> Any:
    """A part of a study's section, None where there is nothing to show."""
    return (part(by_cell) or None) if by_cell else None


def _frontier(summary: Json, study: Json) -> Json | None:
    """The cells by the metric that ranks them and shift consistency, or the next one, shaded by the time of a step."""
    first, *others = study["ranked"]
    if not others or not study["frontier"]:
        return None
    up = CONSISTENCY if CONSISTENCY in others else others[0]
    rest = [key for key in others if key != up]
    shade = SPEED if SPEED in rest else rest[0] if rest else None
    figure = figures.scatter(summary, study, first, up, shade).to_plotly_json()
    return {"figure": figure, "x": metric(first), "y": metric(up), "shade": metric(shade) if shade else None}


def _speed(summary: Json, study: Json) -> Json | None:
    """The cells by the time of a step and the metric that ranks them."""
    if SPEED not in study["ranked"][1:] or not study["frontier"]:
        return None
    first = study["ranked"][0]
    return {"figure": figures.scatter(summary, study, SPEED, first).to_plotly_json(), "y": metric(first)}


def _scale(places: Sequence[Json]) -> Scale:
    ends = [end for place in places for end in (place["low"], place["mean"], place["high"]) if end is not None]
    return Scale(min(ends, default=0.0), max(ends, default=0.0))


def _maps(by_cell: ByCell) -> Json:
    maps, (low, high) = figures.shift_maps(by_cell)
    return {"cells": maps, "low": low, "high": high}


def _looks(results: Sequence[Result]) -> list[str]:
    """How shifts were measured, in words, each way once."""
    moved = [run.metrics["shift"] for run in results if run.metrics.get("shift")]
    said = [
        f"{shift['protocol']} shifts of up to {shift['range']} pixels each way, {shift['images']:,} test images"
        for shift in moved
    ]
    return list(dict.fromkeys(said))


def _values(values: Mapping[str, int]) -> str:
    """A setting that runs share, or each of its values with the number of runs that have it.

    >>> _values({"3.12": 6}), _values({"cpu": 5, "cuda": 1})
    ('3.12', 'cpu (5 runs), cuda (1 run)')
    """
    if len(values) == 1:
        return next(iter(values))
    return ", ".join(f"{value} ({runs} run{'s' if runs > 1 else ''})" for value, runs in values.items())
