"""The summary: every figure with n and interval, in plain JSON."""

import json
from collections.abc import Callable

import pytest

from poolbench.report.records import Provenance, Result, Study
from poolbench.report.statistics import estimate
from poolbench.report.summary import ACCURACY, CONSISTENCY, RANKED, short_names, summarise

Evaluate = Callable[..., dict[str, dict[str, object]]]


def test_summary_is_plain_json(results: list[Result], studies: list[Study], provenance: Provenance) -> None:
    summary = summarise(results, studies, provenance)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_cells_hold_each_metric_with_n_and_interval(
    results: list[Result], studies: list[Study], provenance: Provenance
) -> None:
    summary = summarise(results, studies, provenance)
    cell = "small-fashion_mnist-max-gap"
    expected = estimate([run.value(ACCURACY) for run in results if run.cell == cell])
    assert summary["cells"][cell]["test"]["top1"] == vars(expected)
    assert summary["cells"][cell]["seeds"] == [0, 1, 2]
    assert summary["cells"][cell]["command"] == provenance.repeat[cell]


def test_studies_rank_their_own_cells(results: list[Result], studies: list[Study], provenance: Provenance) -> None:
    summary = summarise(results, studies, provenance)
    for study in studies:
        for key in RANKED:
            assert {place["cell"] for place in summary["studies"][study.name]["rankings"][key]} == set(study.cells)
    pool = summary["studies"]["pool"]
    assert pool["names"]["small-fashion_mnist-max_blur-gap"] == "max_blur"
    assert pool["rankings"][CONSISTENCY][0]["cell"] == "small-fashion_mnist-max_blur-gap"
    assert pool["frontier"] == ["small-fashion_mnist-max_blur-gap", "small-fashion_mnist-strided-gap"]


def test_a_cell_without_runs_is_missing_not_ranked(results: list[Result], provenance: Provenance) -> None:
    study = Study("pool", "Which?", "pool", ["small-fashion_mnist-max-gap", "gone"])
    summary = summarise(results, [study], provenance)["studies"]["pool"]
    assert summary["missing"] == ["gone"]
    assert [place["cell"] for place in summary["rankings"][ACCURACY]] == ["small-fashion_mnist-max-gap"]


def test_a_run_given_twice_is_refused(results: list[Result], provenance: Provenance) -> None:
    with pytest.raises(ValueError, match="max-gap, seed 0 is given twice"):
        summarise([*results, results[0]], [], provenance)


def test_a_study_measured_in_two_ways_is_refused(evaluation: Evaluate, provenance: Provenance) -> None:
    crop = evaluation()
    crop["shift"]["protocol"] = "crop"
    results = [Result("a", 0, {}, evaluation()), Result("b", 0, {}, crop)]
    with pytest.raises(
        ValueError, match=r"study pool mixes evaluations .*circular.*crop.*evaluate all its cells alike"
    ):
        summarise(results, [Study("pool", "Which?", "pool", ["a", "b"])], provenance)


def test_short_names_fall_back_to_the_parts_of_the_cell(results: list[Result]) -> None:
    twins = {run.cell: run.labels for run in results[:1]} | {"twin": results[0].labels}
    assert list(short_names(twins).values()) == ["small / fashion_mnist / max / gap", "twin"]
    apart = {run.cell: run.labels for run in results[:2]}
    assert list(short_names(apart).values()) == ["max", "average"]
