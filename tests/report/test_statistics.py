"""Statistics against published quantiles, worked examples and simulation."""

import math
import random
import statistics
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from poolbench.report.statistics import (
    Estimate,
    changed,
    estimate,
    frontier,
    paired_difference,
    rank,
    seeds_needed,
    t_coverage,
    t_quantile,
    told_apart,
)


@pytest.mark.parametrize(
    ("degrees", "published"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042), (120, 1.980)],
)
def test_t_quantile_is_the_published_one(degrees: int, published: float) -> None:
    assert t_quantile(degrees) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("degrees", range(1, 12))
def test_t_coverage_is_the_integral_of_the_density(degrees: int) -> None:
    scale = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    step = 1.7 / 2000
    middles = ((index + 0.5) * step for index in range(2000))
    area = 2 * step * sum(scale * (1 + t * t / degrees) ** (-(degrees + 1) / 2) for t in middles)
    assert t_coverage(1.7, degrees) == pytest.approx(area, abs=1e-6)


def test_estimate_of_a_worked_example() -> None:
    # mean 0.88, deviation 0.01, so the margin is 4.3027 * 0.01 / sqrt(3)
    result = estimate([0.87, 0.88, 0.89])
    assert result.n == 3
    assert result.mean == pytest.approx(0.88)
    assert result.low == pytest.approx(0.88 - 0.024841, abs=1e-6)
    assert result.high == pytest.approx(0.88 + 0.024841, abs=1e-6)


def test_one_run_has_no_interval_and_tells_nothing_apart() -> None:
    assert estimate([0.9]) == Estimate(1, 0.9, None, None)
    assert not told_apart({"a": {0: 0.9}, "b": {0: 0.1}})


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_estimate_refuses_what_has_no_mean(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite values"):
        estimate(values)


def test_interval_covers_the_truth_95_times_in_100() -> None:
    draw = random.Random(1)
    covered = 0
    for _ in range(2000):
        result = estimate([draw.gauss(5, 2) for _ in range(4)])
        assert result.low is not None
        assert result.high is not None
        covered += result.low <= 5 <= result.high
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_pairing_sees_a_difference_that_seeds_would_hide() -> None:
    ours = {0: 0.80, 1: 0.90, 2: 0.70}
    theirs = {seed: value - 0.010 - 0.001 * seed for seed, value in ours.items()}
    difference = paired_difference(ours, theirs)
    assert difference is not None
    assert difference.mean == pytest.approx(0.011)
    assert difference.excludes_zero
    own, other = estimate(list(ours.values())), estimate(list(theirs.values()))
    assert own.low is not None
    assert own.low < other.mean


def test_pairing_takes_the_shared_seeds_alone() -> None:
    difference = paired_difference({0: 1.0, 1: 2.0, 7: 99.0}, {0: 0.0, 1: 0.0, 8: -99.0})
    assert difference is not None
    assert (difference.n, difference.mean) == (2, 1.5)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


CELLS = {
    "worst": {0: 0.70, 1: 0.71, 2: 0.69},
    "good": {0: 0.90, 1: 0.91, 2: 0.92},
    "twin": {0: 0.91, 1: 0.90, 2: 0.91},
}


def test_orderorders_and_says_what_it_cannot_tell_apart() -> None:
    good, twin, worst = rank(CELLS)
    assert [good.cell, twin.cell, worst.cell] == ["good", "twin", "worst"]
    assert good.indistinguishable_from == ("twin",)
    assert twin.indistinguishable_from == ("good",)
    assert worst.indistinguishable_from == ()
    assert [(place.first, place.last) for place in (good, twin, worst)] == [(1, 2), (1, 2), (3, 3)]
    assert good.behind is None
    assert worst.behind is not None
    assert worst.behind.mean == pytest.approx(-0.21)


def test_orderof_a_cost_puts_the_lowest_first() -> None:
    assert [place.cell for place in rank(CELLS, higher_is_better=False)] == ["worst", "twin", "good"]


def test_orderof_single_runs_leaves_every_orderopen() -> None:
    places = rank({cell: {0: runs[0]} for cell, runs in CELLS.items()})
    assert all((place.first, place.last) == (1, 3) for place in places)
    assert all(len(place.indistinguishable_from) == 2 for place in places)


def test_told_apart_is_holm_over_a_two_way_analysis_of_variance() -> None:
    table = np.array([list(runs.values()) for runs in CELLS.values()])
    cells, seeds = table.shape
    residual = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    degrees = (cells - 1) * (seeds - 1)
    error = np.sqrt(2 * (residual**2).sum() / degrees / seeds)
    chances = {
        frozenset((ours, theirs)): 2 * stats.t.sf(abs(table[i].mean() - table[j].mean()) / error, degrees)
        for (i, ours), (j, theirs) in combinations(enumerate(CELLS), 2)
    }
    kept = set()
    for order, pair in enumerate(sorted(chances, key=chances.__getitem__)):
        if chances[pair] > 0.05 / (len(chances) - order):
            break
        kept.add(pair)
    assert told_apart(CELLS) == kept == {frozenset(("good", "worst")), frozenset(("twin", "worst"))}


def test_equal_cells_are_told_apart_in_one_study_of_twenty_at_most() -> None:
    draw = random.Random(2)
    found = sum(
        bool(told_apart({str(cell): {seed: draw.gauss(0, 1) for seed in range(3)} for cell in range(8)}))
        for _ in range(400)
    )
    assert found / 400 <= 0.075


def test_one_cell_is_told_apart_from_nothing() -> None:
    assert told_apart({}) == told_apart({"a": {0: 1.0, 1: 2.0}}) == set()


@pytest.mark.parametrize("reach", [0.002, 0.005, 0.02])
def test_seeds_needed_is_the_first_number_that_is_enough(reach: float) -> None:
    values = [0.01, 0.03, 0.02]
    n = seeds_needed(estimate(values), reach)
    assert n is not None
    half = [t_quantile(m - 1) * statistics.stdev(values) / math.sqrt(m) for m in (n, n - 1) if m > 1]
    assert half[0] < reach <= (half[1:] or [reach])[0]


def test_seeds_out_of_reach_are_none() -> None:
    assert seeds_needed(estimate([0.0, 1.0, -1.0]), 1e-6) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_frontier_is_what_nothing_beats(values: list[tuple[int, int]]) -> None:
    points = {str(index): (float(x), float(y)) for index, (x, y) in enumerate(values)}
    edge = frontier(points)
    for cell, (x, y) in points.items():
        beaten = any(a >= x and b >= y and (a > x or b > y) for a, b in points.values())
        assert (cell in edge) != beaten
    assert [points[cell][0] for cell in edge] == sorted(points[cell][0] for cell in edge)


def test_times_are_told_apart_by_factors() -> None:
    """A slow cell that varies by seconds does not hide that two quick ones differ."""
    times = {
        "quick": {0: 100.0, 1: 101.0, 2: 102.0},
        "twice": {0: 200.0, 1: 203.0, 2: 204.0},
        "slow": {0: 8000.0, 1: 12000.0, 2: 9000.0},
    }
    assert rank(times, higher_is_better=False)[0].indistinguishable_from == ("twice",)
    assert rank(times, higher_is_better=False, by_factors=True)[0].indistinguishable_from == ()


def test_a_change_of_one_seed_is_none() -> None:
    assert changed({"a": estimate([1.0])}) == []
