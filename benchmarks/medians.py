"""Medians of times, and how sure they are."""

import math
import statistics
from collections.abc import Sequence

Estimate = tuple[float, float, float]
"""A median and the ends of its interval."""
CONFIDENCE = 0.95


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over turns of ours against theirs."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def estimate(values: Sequence[float]) -> Estimate:
    """The median of the values, and the two of them between which that of all like them lies at least so surely.

    Whatever they are distributed like, each lies above it with a chance of a half. Fewer than six are not enough: of
    these it is the smallest and the largest, as it is of six (97 %).

    >>> estimate([3.0, 1.0, 2.0, 9.0, 4.0, 5.0])
    (3.5, 1.0, 9.0)
    """
    ordered, number, beyond, below = sorted(values), len(values), 0, 1
    while 2 * (below + math.comb(number, beyond + 1)) <= (1 - CONFIDENCE) * 2**number:
        beyond += 1
        below += math.comb(number, beyond)
    return statistics.median(ordered), ordered[beyond], ordered[-1 - beyond]
