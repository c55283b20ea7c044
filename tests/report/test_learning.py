"""Curves, letters, calibration and confusion show what the runs recorded."""

from collections.abc import Callable
from typing import Any

import pytest

from poolbench.report import learning
from poolbench.report.records import Result

Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def by_cell(evaluation: Evaluate) -> dict[str, list[Result]]:
    """Two runs of a cell that learns p in two slots, one of another that learns nothing with a letter."""
    runs = []
    for seed in range(2):
        metrics = evaluation(0.9)
        metrics["learned"] = [
            {"epoch": epoch, "slot": slot, "letter": "p", "mean": 2 + epoch * step + seed, "low": 1.0, "high": 5.0}
            for epoch in (0, 1, 2)
            for slot, step in {"pool1": 0.5, "pool2": -0.25}.items()
        ]
        runs.append(Result("lp", seed, {}, metrics))
    return {"lp": runs, "max": [Result("max", 0, {}, evaluation(0.8))]}


def test_curves_are_drawn_over_what_all_runs_span(by_cell: dict[str, list[Result]]) -> None:
    title, charts = learning.progress(by_cell, "test.top1")
    assert title == "Top-1 accuracy, % of the held-out pictures"
    assert [path.title for path in charts["lp"].paths] == ["seed 0", "seed 1"]
    assert charts["lp"].band == charts["max"].band
    assert len(charts["lp"].band.split()) == 6
    upper = charts["lp"].band.split()[:3]
    assert charts["lp"].paths[0].points.split() == upper  # the better cell runs along the band's upper edge


def test_what_training_does_not_log_falls_back_to_accuracy(by_cell: dict[str, list[Result]]) -> None:
    assert learning.progress(by_cell, "shift.consistency")[0].startswith("Top-1 accuracy")


def test_letters_are_drawn_by_slot_and_seed(by_cell: dict[str, list[Result]]) -> None:
    found = learning.learned(by_cell)
    assert found.keys() == {"lp"}
    (letter,) = found["lp"]
    assert letter.letter == "p"
    assert letter.last == {"pool1": pytest.approx(3.5), "pool2": pytest.approx(2.0)}
    assert {path.title for path in letter.figure.paths} == {
        f"{slot}, seed {seed}" for slot in ("pool1", "pool2") for seed in (0, 1)
    }
    assert len({path.color for path in letter.figure.paths}) == 2


def test_calibration_leaves_empty_bins_out(by_cell: dict[str, list[Result]]) -> None:
    diagonal, first, second = learning.calibration(by_cell)["lp"].paths
    assert diagonal.dotted
    assert len(first.points.split()) == len(second.points.split()) == 2


def test_confusion_adds_up_runs_and_names_the_commonest(by_cell: dict[str, list[Result]]) -> None:
    found = learning.confusion(by_cell)["lp"]
    assert found.commonest[:2] == [
        ("shirt", "<bag>", pytest.approx(0.3)),
        ("coat", "shirt", pytest.approx(0.1)),
    ]
    assert found.picture.startswith("data:image/png")


def test_a_matrix_of_very_many_classes_is_not_drawn(evaluation: Evaluate) -> None:
    metrics = evaluation() | {"data": {"classes": [f"c{place}" for place in range(50)]}}
    found = learning.confusion({"a": [Result("a", 0, {}, metrics)]})["a"]
    assert found.picture == ""
    assert found.commonest[0][:2] == ("c1", "c2")
