"""Two reports side by side: what changed from one commit to another, cell by cell, run by run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from poolbench.report.records import METRICS, SCHEMA, metric
from poolbench.report.statistics import Estimate, changed, paired_difference
from poolbench.report.summary import ACCURACY, CONSISTENCY, SPEED, Json


@dataclass(frozen=True)
class Change:
    """One cell's metric in both reports: means, the paired difference over the seeds that both have, told from 0."""

    cell: str
    before: float
    after: float
    difference: Estimate
    told: bool

    def shown(self, key: str) -> str:
        """The difference and its interval, in the metric's digits."""
        each = metric(key)
        return f"{each.difference(self.difference.mean)} ({each.difference_interval(asdict(self.difference))})"


def changes(ours: Json, theirs: Mapping[str, Any]) -> dict[str, list[Change]]:
    """What changed from report `theirs` to `ours`, for the ranked metrics and the claims' own, a cell that both have.

    Raises ValueError where `theirs` is of another schema.
    """
    if theirs.get("schema") != SCHEMA:
        raise ValueError(
            f"compare: the other metrics.json has schema {theirs.get('schema')}, this report reads {SCHEMA}: "
            "make it again with this version"
        )
    asked = {ACCURACY, CONSISTENCY, SPEED, *(key for study in ours["studies"].values() for key in study["ranked"])}
    shared = [cell for cell in ours["cells"] if cell in theirs["cells"]]
    found = {}
    for key in (each.key for each in METRICS if each.key in asked):
        pairs = {cell: (_runs(ours, cell, key), _runs(theirs, cell, key)) for cell in shared}
        differences = {cell: each for cell, pair in pairs.items() if (each := paired_difference(*pair))}
        told = set(changed(differences))
        found[key] = [
            Change(cell, _mean(pairs[cell][1]), _mean(pairs[cell][0]), each, cell in told)
            for cell, each in differences.items()
        ]
    return {key: rows for key, rows in found.items() if rows}


def _runs(summary: Mapping[str, Any], cell: str, key: str) -> dict[int, float]:
    chosen = summary["cells"][cell]
    return dict(zip(chosen["seeds"], chosen["values"].get(key, []), strict=False))


def _mean(runs: Mapping[int, float]) -> float:
    return sum(runs.values()) / len(runs)
