from typing import Any

import pytest

from poolbench.report import objects
from poolbench.report.page import render
from poolbench.report.records import SCHEMA, Provenance, Result, Study
from poolbench.report.summary import summarise

PICTURE = "data:image/png;base64,iVBORw0KGgo="


def looked(precision: float, errors: list[float], stride: int = 4) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "task": "detection",
        "test": {"images": 9, "map": precision, "map50": 0.5, "box_error": 2.0},
        "displaced": [{"shift": stride * place / 2, "error": error} for place, error in enumerate(errors)],
        "pictures": {"0": PICTURE},
        "history": [],
        "data": {"name": "scenes", "checksum": "x", "classes": ["a", "b"]},
        "environment": {"device": "cpu"},
        "duration": {"train_s": 1.0, "evaluate_s": 1.0},
    }


@pytest.fixture
def detectors() -> dict[str, list[Result]]:
    given = {"pool": [(0.30, [1.0, 2.0]), (0.32, [3.0, 4.0])], "align": [(0.40, [0.5, 1.0]), (0.44, [0.5, 2.0])]}
    return {
        cell: [Result(cell, seed, {"region": cell}, looked(*each)) for seed, each in enumerate(runs)]
        for cell, runs in given.items()
    }


def test_errors_of_displaced_boxes_are_means_over_runs(detectors: dict[str, list[Result]]) -> None:
    shown = objects.displaced(detectors)
    assert shown.shifts == [0, 2]
    assert shown.errors == {"pool": [2.0, 3.0], "align": [0.5, 1.5]}
    coarse = {**detectors, "coarse": [Result("coarse", 0, {}, looked(0.1, [1.0, 2.0], stride=8))]}
    assert objects.displaced(coarse).errors.keys() == {"pool", "align"}


def test_the_page_ranks_detectors_by_their_precision_and_shows_what_they_find(
    detectors: dict[str, list[Result]],
) -> None:
    results = [run for runs in detectors.values() for run in runs]
    study = Study("roi", "Which operator?", "region", list(detectors), metric="test.map")
    summary = summarise(results, [study], Provenance({}, [], dict.fromkeys(detectors, "train")))
    assert [place["cell"] for place in summary["studies"]["roi"]["rankings"]["test.map"]] == ["align", "pool"]
    html = render(summary, results)
    assert html.count(PICTURE) == 2
    assert "Boxes that were displaced" in html
    assert "2.00" in html
