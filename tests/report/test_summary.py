"""The summary: every figure with n and interval, in plain JSON."""

import json
from collections.abc import Callable

import pytest

from poolbench.report.records import Provenance, Result, Study
from poolbench.report.statistics import estimate
from poolbench.report.summary import ACCURACY, CONSISTENCY, RANKED, SPEED, short_names, summarise

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
    assert summary["cells"][cell]["values"][ACCURACY] == [run.value(ACCURACY) for run in results if run.cell == cell]
    assert summary["cells"][cell]["command"] == provenance.repeat[cell]


def test_studies_rank_their_own_cells(results: list[Result], studies: list[Study], provenance: Provenance) -> None:
    summary = summarise(results, studies, provenance)
    for study in studies:
        for key in RANKED:
            assert {place["cell"] for place in summary["studies"][study.name]["rankings"][key]} == set(study.cells)
    pool = summary["studies"]["pool"]
    assert pool["names"]["small-fashion_mnist-max_blur-gap"] == "max_blur"
    assert pool["rankings"][CONSISTENCY][0]["cell"] == "small-fashion_mnist-max_blur-gap"
    unbeaten = [
        pool["names"][cell] for cell in pool["frontier"]
    ]  # by rising accuracy: the quick, the steady, the right
    assert unbeaten == ["subsample", "average", "max", "overlapping_max", "max_blur", "strided"]
    assert pool["ranked"] == list(RANKED)
    assert pool["setting"] == "model small, data fashion_mnist, budget small"


def test_a_study_ranks_by_its_own_metric_and_what_its_runs_have(evaluation: Evaluate) -> None:
    results = []
    for place, cell in enumerate(("a", "b")):
        for seed in range(2):
            metrics = evaluation(top1=0.8 + place / 10)
            del metrics["shift"], metrics["test"]["top5"]
            results.append(Result(cell, seed, {"pool": cell}, metrics))
    study = Study("pool", "Which?", "pool", ["a", "b"], metric="test.loss")
    summary = summarise(results, [study], Provenance({}, []))
    assert summary["studies"]["pool"]["ranked"] == ["test.loss", ACCURACY, SPEED]
    assert [place["cell"] for place in summary["studies"]["pool"]["rankings"]["test.loss"]] == ["b", "a"]
    assert "shift" not in summary["cells"]["a"]
    assert "top5" not in summary["cells"]["a"]["test"]
    with pytest.raises(ValueError, match=r"^evaluation of a, seed 0 has no shift.consistency: evaluate it again$"):
        summarise(results, [Study("pool", "?", "pool", ["a"], metric=CONSISTENCY)], Provenance({}, []))


def test_what_runs_recorded_is_counted(evaluation: Evaluate) -> None:
    other = evaluation()
    other["environment"] = {"commit": "f" * 16, "versions": {"torch": "2.15.0"}, "device": "cpu"}
    summary = summarise([Result("a", 0, {}, evaluation()), Result("a", 1, {}, other)], [], Provenance({}, []))
    assert summary["trained"]["commit"] == {"0123456789abcdef": 1, "f" * 16: 1}
    assert summary["trained"]["versions.torch"] == {"2.15.0": 2}
    assert summary["data"] == {"fashion_mnist": "a" * 64}


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
