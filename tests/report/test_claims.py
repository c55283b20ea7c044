"""Verdicts come from the interval, never from the mean."""

import pytest

from poolbench.report.claims import judge
from poolbench.studies import Claim

SEEDS = (0, 1, 2)


def claim(within: float | None = None) -> Claim:
    return Claim("b is better", "someone", "a 1, b 2", "b", "a", "test.top1", within)


def runs(*differences: float) -> dict[str, dict[int, float]]:
    return {"a": dict.fromkeys(SEEDS, 0.5), "b": {seed: 0.5 + d for seed, d in zip(SEEDS, differences, strict=True)}}


@pytest.mark.parametrize(
    ("differences", "within", "verdict"),
    [
        ((0.010, 0.011, 0.012), None, "reproduced"),
        ((-0.010, -0.011, -0.012), None, "contradicted"),
        ((0.010, 0.030, -0.005), None, "undecided"),
        ((0.001, 0.0011, 0.0012), 0.005, "reproduced"),
        ((0.010, 0.011, 0.012), 0.005, "contradicted"),
        ((-0.010, -0.011, -0.012), 0.005, "contradicted"),
        ((0.004, 0.006, 0.005), 0.005, "undecided"),
    ],
)
def test_verdict(differences, within, verdict):
    found = judge(claim(within), runs(*differences), higher_is_better=True)
    assert found.verdict == verdict
    assert (found.seeds_needed is None) == (verdict != "undecided" or differences == (0.004, 0.006, 0.005))


def test_less_of_a_cost_is_ahead():
    found = judge(claim(), runs(-0.010, -0.011, -0.012), higher_is_better=False)
    assert found.verdict == "reproduced"
    assert found.ahead is not None
    assert found.ahead.mean == pytest.approx(0.011)


def test_what_was_not_run_is_undecided():
    found = judge(claim(), {"a": {0: 0.5}}, higher_is_better=True)
    assert (found.verdict, found.ahead, found.seeds_needed) == ("undecided", None, None)


def test_one_run_decides_nothing():
    found = judge(claim(), {"a": {0: 0.5}, "b": {0: 0.9}}, higher_is_better=True)
    assert found.verdict == "undecided"
    assert found.ahead is not None
    assert found.ahead.n == 1
