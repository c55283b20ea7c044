"""Published claims, and what the runs at hand say of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from poolbench.report.statistics import Estimate, Runs, paired_difference, seeds_needed
from poolbench.studies import Claim

Verdict = Literal["reproduced", "contradicted", "undecided"]


@dataclass(frozen=True)
class Finding:
    """What paired runs say of a claim: the verdict, and how far `better` is ahead of `than` (below 0: behind)."""

    verdict: Verdict
    ahead: Estimate | None
    seeds_needed: int | None
    """Runs of each cell after which a difference of this size would decide; None if decided or out of reach."""


def judge(claim: Claim, runs: Mapping[str, Runs], higher_is_better: bool) -> Finding:
    """The verdict on a claim from the interval of the paired difference, never from its mean alone.

    >>> claim = Claim("b beats a", "nobody", "", better="b", than="a")
    >>> judge(claim, {"a": {0: 0.50, 1: 0.52, 2: 0.51}, "b": {0: 0.60, 1: 0.61, 2: 0.61}}, True).verdict
    'reproduced'
    """
    sides = (claim.better, claim.than) if higher_is_better else (claim.than, claim.better)
    ours, theirs = (runs.get(side, {}) for side in sides)
    ahead = paired_difference(ours, theirs)
    if ahead is None or ahead.low is None or ahead.high is None:
        return Finding("undecided", ahead, None)
    verdict = _order(ahead.low, ahead.high) if claim.within is None else _equality(ahead.low, ahead.high, claim.within)
    reach = abs(ahead.mean) if claim.within is None else abs(claim.within - abs(ahead.mean))
    return Finding(verdict, ahead, seeds_needed(ahead, reach) if verdict == "undecided" else None)


def _order(low: float, high: float) -> Verdict:
    return "reproduced" if low > 0 else "contradicted" if high < 0 else "undecided"


def _equality(low: float, high: float, within: float) -> Verdict:
    if -within <= low and high <= within:
        return "reproduced"
    return "contradicted" if low > within or high < -within else "undecided"
