"""Figures show the numbers of the summary, and names as text."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from poolbench.report import figures
from poolbench.report.records import Provenance, Result, Study
from poolbench.report.summary import group, summarise

Evaluate = Callable[..., dict[str, Any]]


def test_tradeoff_draws_each_cell_with_both_intervals(
    results: list[Result], studies: list[Study], provenance: Provenance
) -> None:
    cells = summarise(results, studies, provenance)["cells"]
    names = {cell: cell for cell in cells}
    line, *points = figures.tradeoff(cells, names, figures.cell_colors(cells)).data
    assert len(points) == 9
    for point, (cell, summary) in zip(points, cells.items(), strict=True):
        top1 = summary["test"]["top1"]
        assert point.x == (pytest.approx(100 * top1["mean"]),)
        assert point.error_x.array == (pytest.approx(100 * (top1["high"] - top1["mean"])),)
        assert "n = 3" in point.hovertemplate
        assert provenance.repeat[cell].split()[0] in point.hovertemplate
    assert list(line.x) == sorted(line.x)
    assert list(line.y) == sorted(line.y, reverse=True)


def test_a_single_run_has_no_bars_and_its_name_is_escaped(evaluation: Evaluate) -> None:
    name = "<script>alert(1)</script>"
    cells = summarise([Result(name, 0, {}, evaluation())], [], Provenance({}, [], {name: "a <b>"}))["cells"]
    point = figures.tradeoff(cells, {name: name}, {name: "#112233"}).data[1]
    assert point.error_x.array == (None,)
    assert "interval unknown" in point.hovertemplate
    assert "<script>" not in point.hovertemplate + point.text[0]
    assert "a &lt;b&gt;" in point.hovertemplate


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


def test_learning_curves_draw_a_line_a_seed_over_the_band(results: list[Result]) -> None:
    band = figures.learning_band(results)
    runs = group(results)[results[0].cell]
    _, *lines = figures.learning_curve(runs, band, "#112233").data
    assert len(lines) == 3
    for line in lines:
        assert all(100 * band[x][0] <= y <= 100 * band[x][1] for x, y in zip(line.x, line.y, strict=True))


def test_cells_keep_apart_by_colour(results: list[Result]) -> None:
    colors = figures.cell_colors(group(results))
    assert all(one != other for one, other in combinations(colors.values(), 2))


def test_diagonals_and_layers_draw_a_line_a_cell_in_its_colour(results: list[Result]) -> None:
    by_cell = group(results)
    colors, names = figures.cell_colors(by_cell), {cell: f"<{cell}>" for cell in by_cell}
    for figure, expected in (
        (figures.diagonal(by_cell, 2, colors), [40.0] * 7),
        (figures.layers(by_cell, names, colors), [0.1, 0.3]),
    ):
        assert [line.line.color for line in figure.data] == list(colors.values())
        assert list(figure.data[0].y) == pytest.approx(expected)
    assert list(figure.data[0].x) == ["pool1", "head"]
    assert figure.data[0].name.startswith("&lt;")
