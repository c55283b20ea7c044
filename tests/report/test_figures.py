"""Figures show the numbers of the summary, and names as text."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from poolbench.report import figures
from poolbench.report.records import Provenance, Result, Study
from poolbench.report.summary import ACCURACY, CONSISTENCY, SPEED, group, summarise

Evaluate = Callable[..., dict[str, Any]]


def test_a_scatter_draws_each_cell_with_both_intervals(
    results: list[Result], studies: list[Study], provenance: Provenance
) -> None:
    summary = summarise(results, studies, provenance)
    study = summary["studies"]["pool"]
    (points,) = figures.scatter(summary, study, ACCURACY, CONSISTENCY, SPEED).data
    cells = [place["cell"] for place in study["rankings"][ACCURACY]]
    assert len(points.x) == len(cells) == 7
    for place, cell in enumerate(cells):
        top1 = summary["cells"][cell]["test"]["top1"]
        assert points.x[place] == pytest.approx(100 * top1["mean"])
        assert points.error_x.array[place] == pytest.approx(100 * (top1["high"] - top1["mean"]))
        assert points.marker.color[place] == pytest.approx(math.log10(summary["cells"][cell]["cost"]["step"]["mean"]))
        assert (points.marker.size[place] > 10) == (cell in study["frontier"])
        for said in ("n = 3", "training step", "python -m poolbench.stages.train"):
            assert said in points.hovertext[place]


def test_time_is_drawn_by_factors(results: list[Result], studies: list[Study], provenance: Provenance) -> None:
    summary = summarise(results, studies, provenance)
    axis = figures.scatter(summary, summary["studies"]["pool"], SPEED, ACCURACY).layout.xaxis
    assert axis.type == "log"
    assert axis.tickvals == (50, 100)
    assert axis.range[0] < math.log10(41) < math.log10(92) < axis.range[1]


def test_among_many_only_the_unbeaten_have_names(evaluation: Evaluate) -> None:
    cells = {f"v{place}": evaluation(0.5 + place / 100, 0.9 - place / 100 - (place % 2) / 5) for place in range(20)}
    results = [Result(cell, 0, {"pool": cell}, metrics) for cell, metrics in cells.items()]
    summary = summarise(results, [Study("pool", "?", "pool", list(cells))], Provenance({}, []))
    study = summary["studies"]["pool"]
    (points,) = figures.scatter(summary, study, ACCURACY, CONSISTENCY).data
    assert {name for name in points.text if name} == set(study["frontier"])
    assert 1 < len(study["frontier"]) < 20


def test_a_single_run_has_no_bars_and_its_name_is_escaped(evaluation: Evaluate) -> None:
    name = "<script>alert(1)</script>"
    study = Study("pool", "?", "pool", [name])
    summary = summarise([Result(name, 0, {}, evaluation())], [study], Provenance({}, [], {name: "a <b>"}))
    (points,) = figures.scatter(summary, summary["studies"]["pool"], ACCURACY, CONSISTENCY).data
    assert points.error_x.array == (None,)
    assert "interval unknown" in points.hovertext[0]
    assert "<script>" not in points.hovertext[0] + points.text[0]
    assert "a &lt;b&gt;" in points.hovertext[0]


def test_names_keep_off_each_other() -> None:
    points = {"left": (0.0, 0.0), "twin": (0.1, 0.1), "right": (9.0, 9.0)}
    positions = figures.label_positions(points, {cell: cell for cell in points})
    assert positions["right"] == "top center"
    assert positions["left"] != positions["twin"]


def test_shift_maps_average_seeds_and_share_a_scale(results: list[Result]) -> None:
    by_cell = group(results)
    maps, (low, high) = figures.shift_maps(by_cell)
    assert {len(squares) for squares in maps.values()} == {49}
    cell, runs = next(iter(by_cell.items()))
    first = maps[cell][1]
    assert (first.dx, first.dy) == (-2, -3)
    assert first.accuracy == pytest.approx(sum(run.metrics["shift"]["accuracy_by_move"][1] for run in runs) / 3)
    everything = [square for squares in maps.values() for square in squares]
    assert (low, high) == (min(each.accuracy for each in everything), max(each.accuracy for each in everything))
    gradient = figures.map_gradient()
    assert min(everything, key=lambda each: each.accuracy).color == gradient[0]
    assert max(everything, key=lambda each: each.accuracy).color == gradient[-1]


def test_times_that_lie_close_have_even_marks(evaluation: Evaluate) -> None:
    """And a scale of colours says its ends."""
    results = [Result(f"v{place}", 0, {}, evaluation(step=0.93 + place / 64)) for place in range(17)]
    study = Study("pool", "?", "pool", [result.cell for result in results])
    summary = summarise(results, [study], Provenance({}, []))
    (points,) = figures.scatter(summary, summary["studies"]["pool"], ACCURACY, CONSISTENCY, SPEED).data
    assert points.marker.colorbar.ticktext == ("0.93", "1.18")
    assert points.marker.colorbar.tickvals == (min(points.marker.color), max(points.marker.color))
    axis = figures.scatter(summary, summary["studies"]["pool"], SPEED, ACCURACY).layout.xaxis
    assert axis.tickvals == pytest.approx((0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2))


def test_equal_times_have_a_scale(evaluation: Evaluate) -> None:
    results = [
        Result(cell, 0, {"pool": cell}, evaluation(top1, step=61.2345)) for cell, top1 in {"a": 0.8, "b": 0.9}.items()
    ]
    summary = summarise(results, [Study("pool", "?", "pool", ["a", "b"])], Provenance({}, []))
    study = summary["studies"]["pool"]
    figures.scatter(summary, study, ACCURACY, CONSISTENCY, SPEED)
    axis = figures.scatter(summary, study, SPEED, ACCURACY).layout.xaxis
    assert len(axis.tickvals) > 1
