"""Statistics of repeated runs: means and paired differences with 95 % t intervals, rankings, and the Pareto frontier.

The n runs of a cell differ by seed alone, so an interval covers what the seed changes (initial weights, batch order,
random operators), on one test set. Cells share seeds, so two of them are compared seed by seed.
"""

import math
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

CONFIDENCE = 0.95
MOST_SEEDS = 1000


def t_coverage(t: float, degrees: int) -> float:
    """The probability that Student's t lies within -t and t, exact for whole degrees of freedom.

    Source: Abramowitz & Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.

    >>> round(t_coverage(1.0, 1), 6)
    0.5
    """
    angle = math.atan(t / math.sqrt(degrees))
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(2 + odd, degrees + 1, 2):
        total += term
        term *= (power - 1) / power * math.cos(angle) ** 2
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def t_quantile(degrees: int) -> float:
    """The t that covers 95 % on both sides, by bisection.

    >>> round(t_quantile(2), 3)
    4.303
    """
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_coverage(middle, degrees) < CONFIDENCE else (low, middle)
    return high


@dataclass(frozen=True)
class Estimate:
    """A mean of n runs and its 95 % interval; the ends are None for a single run, whose interval is unknown."""

    n: int
    mean: float
    low: float | None
    high: float | None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is known and zero lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of independent runs with its 95 % t interval. Raises ValueError without runs or on a value not finite.

    >>> estimate([1.0, 2.0, 3.0]).mean
    2.0
    >>> estimate([1.0])
    Estimate(n=1, mean=1.0, low=None, high=None)
    """
    n = len(values)
    if n == 0 or not all(map(math.isfinite, values)):
        raise ValueError(f"an estimate needs at least one run and finite values, got {list(values)}")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(1, mean, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    margin = t_quantile(n - 1) * deviation / math.sqrt(n)
    return Estimate(n, mean, mean - margin, mean + margin)


Runs = Mapping[int, float]
"""One cell's value at each seed."""


def paired_difference(ours: Runs, theirs: Runs) -> Estimate | None:
    """The mean of ours minus theirs over the seeds that both have, or None where they share none.

    >>> paired_difference({0: 3.0, 1: 5.0}, {0: 1.0, 1: 3.0}).mean
    2.0
    """
    shared = sorted(ours.keys() & theirs.keys())
    return estimate([ours[seed] - theirs[seed] for seed in shared]) if shared else None


def seeds_needed(difference: Estimate, reach: float) -> int | None:
    """How many runs would bring half the interval of a paired difference down to `reach`, its deviation unchanged.

    None where more than 1,000 would not do.

    >>> seeds_needed(estimate([0.01, 0.03, 0.02]), 0.005)
    18
    """
    assert difference.low is not None
    deviation = (difference.mean - difference.low) / t_quantile(difference.n - 1) * math.sqrt(difference.n)
    numbers = range(2, MOST_SEEDS + 1)
    found = bisect_left(numbers, True, key=lambda n: t_quantile(n - 1) * deviation / math.sqrt(n) < reach)
    return numbers[found] if found < len(numbers) else None


def told_apart(cells: Mapping[str, Runs]) -> set[frozenset[str]]:
    """The pairs of cells that differ, with at most 5 % chance that any pair of equal ones is among them.

    A pair is told apart where the interval of its paired difference leaves zero out and where it passes Holm's
    correction over all pairs. For that, cells and the seeds that all of them share are a randomised block design,
    whose residual estimates the error of every difference: three seeds of one pair alone leave two degrees of freedom.
    Source: Holm, A simple sequentially rejective multiple test procedure (1979).

    >>> sorted(map(sorted, told_apart({"a": {0: 1.0, 1: 1.1}, "b": {0: 2.0, 1: 2.1}, "c": {0: 1.0, 1: 1.2}})))
    [['a', 'b'], ['b', 'c']]
    """
    seeds = sorted(set.intersection(*(set(runs) for runs in cells.values()))) if cells else []
    if len(seeds) < 2 or len(cells) < 2:
        return set()
    values = {cell: [runs[seed] for seed in seeds] for cell, runs in cells.items()}
    means = {cell: math.fsum(each) / len(seeds) for cell, each in values.items()}
    blocks = [math.fsum(each) / len(cells) for each in zip(*values.values(), strict=True)]
    overall = math.fsum(blocks) / len(blocks)
    residuals = (
        value - means[cell] - block + overall
        for cell, each in values.items()
        for value, block in zip(each, blocks, strict=True)
    )
    degrees = (len(cells) - 1) * (len(seeds) - 1)
    error = math.sqrt(2 / len(seeds) * math.fsum(residual**2 for residual in residuals) / degrees)
    chances = {
        frozenset(pair): _chance(means[pair[0]] - means[pair[1]], error, degrees) for pair in combinations(cells, 2)
    }
    return {pair for pair in holm(chances) if _leaves_zero_out(cells, pair)}


def _leaves_zero_out(cells: Mapping[str, Runs], pair: frozenset[str]) -> bool:
    ours, theirs = pair
    difference = paired_difference(cells[ours], cells[theirs])
    return difference is not None and difference.excludes_zero


def _logarithms(cells: Mapping[str, Runs]) -> dict[str, Runs]:
    return {cell: {seed: math.log(value) for seed, value in runs.items()} for cell, runs in cells.items()}


Tested = TypeVar("Tested", bound=Hashable)


def holm(chances: Mapping[Tested, float]) -> list[Tested]:
    """What may be called different, of p values, with at most 5 % chance that any of it is not.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    ['a']
    """
    passed = []
    for tested, (name, chance) in enumerate(sorted(chances.items(), key=lambda item: item[1])):
        if chance > (1 - CONFIDENCE) / (len(chances) - tested):
            break
        passed.append(name)
    return passed


def changed(differences: Mapping[Tested, Estimate]) -> list[Tested]:
    """The paired differences that are not 0, with at most 5 % chance that any of them is.

    >>> changed({"a": estimate([1.0, 1.1, 1.2]), "b": estimate([-1.0, 0.1, 1.2]), "c": estimate([0.0, 0.0])})
    ['a']
    """
    chances = {}
    for name, each in differences.items():
        if each.high is not None:
            error = (each.high - each.mean) / t_quantile(each.n - 1)
            chances[name] = _chance(each.mean, error, each.n - 1)
    return holm(chances)


def _chance(difference: float, error: float, degrees: int) -> float:
    """The two-sided p value of a difference."""
    if error == 0:
        return float(difference == 0)
    return 1 - t_coverage(abs(difference) / error, degrees)


@dataclass(frozen=True)
class Place:
    """A cell's place in a ranking.

    `first` and `last` are the best and the worst rank that the paired comparisons leave open; `behind` is the paired
    difference to the cell with the best mean (None for that cell itself, or where no seed is shared).
    """

    cell: str
    estimate: Estimate
    behind: Estimate | None
    first: int
    last: int
    indistinguishable_from: tuple[str, ...]


def rank(cells: Mapping[str, Runs], higher_is_better: bool = True, by_factors: bool = False) -> list[Place]:
    """The cells from best mean to worst, each with those that it cannot be told apart from.

    What differs `by_factors`, as times do, errs by factors too: there the pooled error is that of the logarithms.

    >>> [place.cell for place in rank({"a": {0: 1.0, 1: 1.1}, "b": {0: 2.0, 1: 2.1}})]
    ['b', 'a']
    """
    estimates = {cell: estimate(list(runs.values())) for cell, runs in cells.items()}
    order = sorted(cells, key=lambda cell: estimates[cell].mean, reverse=higher_is_better)
    pairs = told_apart(_logarithms(cells) if by_factors else cells)
    if by_factors:
        pairs = {pair for pair in pairs if _leaves_zero_out(cells, pair)}
    places = []
    for index, cell in enumerate(order):
        apart = [frozenset((cell, other)) in pairs for other in order]
        places.append(
            Place(
                cell,
                estimates[cell],
                behind=paired_difference(cells[cell], cells[order[0]]) if index else None,
                first=1 + sum(apart[:index]),
                last=len(order) - sum(apart[index:]),
                indistinguishable_from=tuple(
                    other for other, is_apart in zip(order, apart, strict=True) if other != cell and not is_apart
                ),
            )
        )
    return places


def frontier(points: Mapping[str, tuple[float, ...]]) -> list[str]:
    """The cells that no other beats in all coordinates (more is better), by rising first coordinate.

    >>> frontier({"a": (1, 3), "b": (2, 2), "c": (1, 1)})
    ['a', 'b']
    """

    def is_beaten(point: tuple[float, ...]) -> bool:
        return any(
            other != point and all(theirs >= ours for ours, theirs in zip(point, other, strict=True))
            for other in points.values()
        )

    return sorted((cell for cell, point in points.items() if not is_beaten(point)), key=lambda cell: points[cell])
