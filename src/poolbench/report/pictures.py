"""What the report shows beside the test pictures as they are: other sizes, several passes, where classes are seen."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from poolbench.report.records import Result, metric
from poolbench.report.shifts import ByCell, Column
from poolbench.report.statistics import estimate
from poolbench.report.summary import ACCURACY

Size = tuple[int, int]


def sizes(by_cell: ByCell) -> list[Column]:
    """Accuracy at each size of picture; a cell that was not asked for a size, or refuses it, has none there."""
    every = sorted({size for runs in by_cell.values() for run in runs for size in _sized(run)})
    return [_column(" x ".join(map(str, size)), by_cell, partial(_at, size)) for size in every]


def refusals(by_cell: ByCell) -> dict[str, str]:
    """Why a cell's network takes no other size."""
    reasons = {
        cell: [each["refused"] for each in runs[0].metrics["sizes"]["accuracy"] if each["refused"]]
        for cell, runs in by_cell.items()
    }
    return {cell: said[0] for cell, said in reasons.items() if said}


def passes(by_cell: ByCell) -> list[Column]:
    """Accuracy in evaluation, and of probabilities averaged over passes that draw as training does."""
    drawing = {cell: runs for cell, runs in by_cell.items() if all(run.metrics["passes"] for run in runs)}
    counts = [len(run.metrics["passes"]["accuracy"]) for runs in drawing.values() for run in runs]
    if not counts:
        return []
    return [
        _column("Evaluation", drawing, lambda run: run.metrics["passes"]["evaluation"]),
        *(_column(f"Passes: {count}", drawing, partial(_averaged, count)) for count in range(1, min(counts) + 1)),
    ]


def activations(by_cell: ByCell) -> dict[str, list[tuple[str, str]]]:
    """The class activation maps of the first run of each cell that has any: the class, and the picture."""
    found = {}
    for cell, (first, *_) in by_cell.items():
        classes = first.metrics["data"]["classes"]
        if maps := first.metrics["activations"]:
            found[cell] = [(classes[each["label"]], each["picture"]) for each in maps]
    return found


def _sized(run: Result) -> dict[Size, float | None]:
    return {
        (each["height"], each["width"]): each["accuracy"] and each["accuracy"][0]
        for each in run.metrics["sizes"]["accuracy"]
    }


def _at(size: Size, run: Result) -> float | None:
    return _sized(run).get(size)


def _averaged(count: int, run: Result) -> float:
    return run.metrics["passes"]["accuracy"][count - 1]


def _column(heading: str, by_cell: ByCell, value: Callable[[Result], float | None]) -> Column:
    values = {cell: [found for run in runs if (found := value(run)) is not None] for cell, runs in by_cell.items()}
    means = {cell: asdict(estimate(found)) for cell, found in values.items() if found}
    return Column(heading, metric(ACCURACY), means)
