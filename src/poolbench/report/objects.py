"""What a study shows of networks that look for objects: boxes that were displaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from poolbench.report.records import Result

ByCell = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Displacement:
    """The mean error of true boxes, corrected, by how far they were displaced: pixels, a column a shift."""

    shifts: Sequence[float]
    errors: Mapping[str, Sequence[float]]


def displaced(by_cell: ByCell) -> Displacement:
    """The errors of the cells whose maps have the stride of the first one's."""
    rows = {cell: [run.metrics["displaced"] for run in runs] for cell, runs in by_cell.items()}
    shifts = [each["shift"] for each in next(iter(rows.values()))[0]]
    alike = {cell: runs for cell, runs in rows.items() if all([e["shift"] for e in run] == shifts for run in runs)}
    return Displacement(
        shifts,
        {
            cell: [fmean(each["error"] for each in steps) for steps in zip(*runs, strict=True)]
            for cell, runs in alike.items()
        },
    )
