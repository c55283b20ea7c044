"""The report's page: one HTML file with everything inside, which opens without a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from poolbench.report import figures, pictures, shifts
from poolbench.report.answer import answer, finding, listing
from poolbench.report.records import METRICS, Result, metric
from poolbench.report.summary import ACCURACY, CONSISTENCY, Json, group, short_names
from poolbench.report.tables import rank_range

COST, SHIFT = (tuple(each for each in METRICS if each.key.startswith(section)) for section in ("cost.", "shift."))


def render(summary: Json, results: Sequence[Result]) -> str:
    """The whole page as HTML, from the summary of these results. Texts from configurations are escaped."""
    templates = Environment(
        loader=PackageLoader("poolbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(listing=listing, named=lambda cells, names: [names[cell] for cell in cells])
    templates.globals.update(metric=metric, rank_range=rank_range, answer=answer, finding=finding)
    by_cell = group(results)
    colors = figures.cell_colors(by_cell)
    names = short_names({cell: chosen["labels"] for cell, chosen in summary["cells"].items()})
    return templates.get_template("index.html.j2").render(
        summary=summary,
        names=names,
        tradeoffs=_tradeoffs(summary, names, colors),
        scales={name: _scales(summary, study) for name, study in summary["studies"].items()},
        ranked=[metric(ACCURACY), metric(CONSISTENCY)],
        maps=_maps(by_cell),
        protocols=_protocols(results),
        measured=shifts.protocols(by_cell),
        robustness=shifts.robustness(by_cell),
        swaps=shifts.swaps(by_cell),
        flips=shifts.flips(by_cell),
        picture_margin=shifts.picture_margin(by_cell) if results else 0.0,
        pictures=_pictures(by_cell),
        examples=_examples(by_cell, colors),
        layers=_layers(by_cell, names, colors),
        curves=_curves(by_cell, colors),
        cost=COST,
        shift_metrics=SHIFT,
        environment=_flat(summary["environment"]),
        seeds=sorted({len(cell["seeds"]) for cell in summary["cells"].values()}),
        runs=len(results),
        plotly=get_plotlyjs() if results else "",
    )


@dataclass(frozen=True)
class Tradeoff:
    """The cells of one setting (network, data, budget) in one figure."""

    setting: str
    cells: Sequence[str]
    figure: Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """A picture, what it shows, and the probability of that along the diagonal."""

    picture: str
    label: str
    figure: Mapping[str, Any]


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


def _tradeoffs(summary: Json, names: Mapping[str, str], colors: Mapping[str, str]) -> list[Tradeoff]:
    cells = summary["cells"]
    by_setting: dict[str, list[str]] = {}
    for cell in cells:
        by_setting.setdefault(_setting(cells[cell]["labels"]), []).append(cell)
    return [
        Tradeoff(
            setting, alike, figures.tradeoff({cell: cells[cell] for cell in alike}, names, colors).to_plotly_json()
        )
        for setting, alike in by_setting.items()
    ]


def _scales(summary: Json, study: Json) -> dict[str, Scale]:
    scales = {}
    for key, places in study["rankings"].items():
        ends = [end for place in places for end in (place["low"], place["mean"], place["high"]) if end is not None]
        if ends:
            scales[key] = Scale(min(ends), max(ends))
    return scales


def _by_setting(by_cell: Mapping[str, Sequence[Result]]) -> dict[str, dict[str, Sequence[Result]]]:
    """The cells of each setting, which saw the same pictures and have the same layers."""
    settings: dict[str, dict[str, Sequence[Result]]] = {}
    for cell, runs in by_cell.items():
        settings.setdefault(_setting(runs[0].labels), {})[cell] = runs
    return settings


def _examples(by_cell: Mapping[str, Sequence[Result]], colors: Mapping[str, str]) -> list[Example]:
    """The first test pictures of each setting, under every cell of it."""
    examples = []
    for alike in _by_setting(by_cell).values():
        metrics = next(iter(alike.values()))[0].metrics
        for place, label in enumerate(metrics["shift"]["diagonal"]["labels"]):
            figure = figures.diagonal(alike, place, colors).to_plotly_json()
            examples.append(Example(metrics["pictures"][str(place)], metrics["data"]["classes"][label], figure))
    return examples


def _layers(
    by_cell: Mapping[str, Sequence[Result]], names: Mapping[str, str], colors: Mapping[str, str]
) -> dict[str, Any]:
    return {
        setting: figures.layers(alike, names, colors).to_plotly_json()
        for setting, alike in _by_setting(by_cell).items()
    }


def _maps(by_cell: Mapping[str, Sequence[Result]]) -> Json | None:
    if not by_cell:
        return None
    maps, (low, high) = figures.shift_maps(by_cell)
    return {"cells": maps, "low": low, "high": high, "gradient": figures.map_gradient()}


def _pictures(by_cell: Mapping[str, Sequence[Result]]) -> Json | None:
    """Other sizes, several passes and activation maps, for their template."""
    if not by_cell:
        return None
    return {
        "images": next(iter(by_cell.values()))[0].metrics["sizes"]["images"],
        "sizes": pictures.sizes(by_cell),
        "refusals": pictures.refusals(by_cell),
        "passes": pictures.passes(by_cell),
        "activations": pictures.activations(by_cell),
    }


def _protocols(results: Sequence[Result]) -> list[str]:
    """How shifts were measured, in words, each way once."""
    shifts = [run.metrics["shift"] for run in results]
    said = [
        f"{shift['protocol']} shifts of up to {shift['range']} pixels each way, {shift['images']:,} test images"
        for shift in shifts
    ]
    return list(dict.fromkeys(said))


def _curves(by_cell: Mapping[str, Sequence[Result]], colors: Mapping[str, str]) -> dict[str, Any]:
    """Each cell's learning curve; the cells of one setting share the grey band."""
    alike: dict[str, list[Result]] = {}
    for runs in by_cell.values():
        alike.setdefault(_setting(runs[0].labels), []).extend(runs)
    bands = {setting: figures.learning_band(runs) for setting, runs in alike.items()}
    return {
        cell: figures.learning_curve(runs, bands[_setting(runs[0].labels)], colors[cell]).to_plotly_json()
        for cell, runs in by_cell.items()
        if bands[_setting(runs[0].labels)]
    }


def _setting(labels: Mapping[str, str]) -> str:
    """What must be equal for two cells to share a figure: network, data and budget."""
    return ", ".join(f"{key} {labels[key]}" for key in ("model", "data", "budget") if key in labels)


def _flat(environment: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines of a table, keys joined by dots."""
    lines: list[tuple[str, str]] = []
    for key, value in environment.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append((prefix + key, str(value)))
    return lines
