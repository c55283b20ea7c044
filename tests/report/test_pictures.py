from dataclasses import replace

import pytest

from poolbench.report import pictures
from poolbench.report.records import Result


@pytest.fixture
def by_cell(evaluation):
    """Two cells of two runs; the network of the second takes other sizes, and its operator draws nothing."""
    labels = {"model": "cnn"}
    first = [Result("fc", seed, labels, evaluation(0.8 + 0.02 * seed)) for seed in (0, 1)]
    wide = evaluation(0.7)
    wide["passes"] = None
    wide["activations"] = []
    wide["sizes"] = {
        "images": 200,
        "accuracy": [
            {"height": side, "width": side, "accuracy": [0.5, 0.4, 0.6], "refused": None} for side in (14, 28, 56)
        ],
    }
    return {"fc": first, "gap": [Result("gap", 0, labels, wide)]}


def test_a_size_is_a_column_and_a_refused_one_stays_empty(by_cell):
    small, whole, large = pictures.sizes(by_cell)
    assert [column.heading for column in (small, whole, large)] == ["14 x 14", "28 x 28", "56 x 56"]
    assert small.estimates.keys() == large.estimates.keys() == {"gap"}
    assert whole.estimates["fc"]["mean"] == pytest.approx(0.81)
    assert whole.estimates["fc"]["n"] == 2


def test_the_reason_of_a_refusal(by_cell):
    assert pictures.refusals(by_cell) == {"fc": "shapes differ"}


def test_passes_of_what_draws(by_cell):
    columns = pictures.passes(by_cell)
    assert [column.heading for column in columns] == ["Evaluation", "Passes: 1", "Passes: 2"]
    assert [column.estimates["fc"]["mean"] for column in columns] == pytest.approx([0.81, 0.79, 0.82])
    assert all(column.estimates.keys() == {"fc"} for column in columns)
    assert pictures.passes({"gap": by_cell["gap"]}) == []


def test_activation_maps_are_those_of_the_first_run(by_cell):
    first, second = by_cell["fc"]
    other = replace(second, metrics=second.metrics | {"activations": []})
    ((cell, maps),) = pictures.activations({"fc": [first, other], "gap": by_cell["gap"]}).items()
    assert (cell, [label for label, _ in maps]) == ("fc", ["<bag>"])
