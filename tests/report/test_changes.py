"""What changed between two reports: paired by seed, told from 0 only where chance is unlikely."""

from collections.abc import Callable
from typing import Any

import pytest

from poolbench.report.changes import changes
from poolbench.report.records import Provenance, Result
from poolbench.report.summary import ACCURACY, CONSISTENCY, SPEED, Json, summarise

Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def summary(evaluation: Evaluate) -> Callable[..., Json]:
    """A summary of cells given as their accuracy for each seed."""

    def make(**cells: list[float]) -> Json:
        results = [
            Result(cell, seed, {}, evaluation(top1)) for cell, runs in cells.items() for seed, top1 in enumerate(runs)
        ]
        return summarise(results, [], Provenance({}, []))

    return make


def test_changes_are_paired_and_tested(summary: Callable[..., Json]) -> None:
    before = summary(better=[0.80, 0.85, 0.82], equal=[0.7, 0.8, 0.75], gone=[0.5])
    after = summary(better=[0.82, 0.8701, 0.8401], equal=[0.7, 0.8, 0.75], new=[0.5])
    found = changes(after, before)
    assert list(found) == [ACCURACY, CONSISTENCY, SPEED]
    better, equal = found[ACCURACY]
    assert (better.cell, equal.cell) == ("better", "equal")
    assert better.difference.mean == pytest.approx(0.0200667, abs=1e-6)
    assert (better.told, equal.told) == (True, False)
    assert equal.shown(ACCURACY) == "+0.00 (+0.00 to +0.00)"
    assert not any(row.told for row in found[CONSISTENCY])


def test_only_seeds_of_both_count(summary: Callable[..., Json]) -> None:
    (row,) = changes(summary(a=[0.8, 0.9, 0.5]), summary(a=[0.7, 0.8]))[ACCURACY]
    assert row.difference.n == 2
    assert row.difference.mean == pytest.approx(0.1)


def test_a_report_of_another_schema_is_refused(summary: Callable[..., Json]) -> None:
    with pytest.raises(ValueError, match=r"^compare: the other metrics.json has schema 1, this report reads 5: make"):
        changes(summary(a=[0.8]), {"schema": 1})
