"""The section on shifts says what the evaluations hold."""

from collections.abc import Callable
from typing import Any

import pytest

from poolbench.evaluation import PROTOCOLS
from poolbench.report import shifts
from poolbench.report.records import Result

Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def by_cell(evaluation: Evaluate) -> dict[str, list[Result]]:
    """Two runs of one cell, one of another that has neither another protocol nor a swap."""
    runs = [Result("max", seed, {}, evaluation(0.9, consistency)) for seed, consistency in enumerate((0.8, 0.84))]
    other = Result("blur", 0, {}, evaluation(0.7, 0.9) | {"shifts": {}, "swaps": {}})
    return {"max": runs, "blur": [other]}


def test_protocols_show_their_own_figure_over_seeds(by_cell: dict[str, list[Result]]) -> None:
    ours, theirs = shifts.protocols(by_cell)
    assert ours.heading == "Every circular shift: shift consistency"
    assert ours.estimates["max"]["mean"] == pytest.approx(0.82)
    assert ours.estimates["max"]["n"] == 2
    assert theirs.estimates.keys() == {"max"}
    assert theirs.estimates["max"]["mean"] == pytest.approx(0.83)
    assert theirs.caveat == PROTOCOLS["aps_circular"].caveat


def test_corruptions_are_averaged_over_severities(by_cell: dict[str, list[Result]]) -> None:
    noise = shifts.robustness(by_cell)[0]
    assert noise.heading == "gaussian noise"
    assert noise.estimates["max"]["mean"] == pytest.approx(0.9 - (4 * 0.1 + 0.2) / 5)


def test_swaps_are_differences_to_the_run_itself(by_cell: dict[str, list[Result]]) -> None:
    found = shifts.swaps(by_cell)
    assert found.keys() == {"max_blur"}
    assert found["max_blur"].keys() == {"max"}
    assert found["max_blur"]["max"]["consistency"]["mean"] == pytest.approx(0.05)
    assert found["max_blur"]["max"]["accuracy"]["mean"] == pytest.approx(-0.01)


def test_flips_name_classes(by_cell: dict[str, list[Result]]) -> None:
    (flip,) = shifts.flips(by_cell)["max"]
    assert flip.label == "shirt"
    assert flip.answers == [("coat", 0.5), ("<bag>", 0.5)]
    assert flip.picture.startswith("data:image/png")


def test_the_margin_over_pictures_is_that_of_the_runs(by_cell: dict[str, list[Result]]) -> None:
    assert shifts.picture_margin(by_cell) == pytest.approx(0.02)


def test_layers_are_means_shaded_by_the_largest_error(by_cell: dict[str, list[Result]]) -> None:
    ((names, cells),) = shifts.layers(by_cell)
    assert names == ["pool1", "head"]
    pool, head = cells["max"]
    assert (pool.error, pool.share) == pytest.approx((0.1, 1 / 3))
    assert (pool.shape, pool.sees) == ("4 × 14 × 14", "4 × 4")
    assert (head.shape, head.sees) == ("4", "")


def test_examples_are_drawn_where_all_cells_see_the_same(by_cell: dict[str, list[Result]]) -> None:
    found = shifts.examples(by_cell)
    assert [example.label for example in found] == ["coat", "shirt", "<bag>", "coat"]
    assert found[2].lowest["max"] == pytest.approx(40.0)
    metrics = by_cell["blur"][0].metrics
    other = {**metrics, "data": {**metrics["data"], "checksum": "another"}}
    assert shifts.examples(by_cell | {"blur": [Result("blur", 0, {}, other)]}) == []
