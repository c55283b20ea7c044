"""What the report's section on shifts shows of each cell's runs: its tables, and the pictures that flip."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import Any

from poolbench.evaluation import CORRUPTIONS, PROTOCOLS, Protocol
from poolbench.report.records import Metric, Result, metric
from poolbench.report.statistics import estimate
from poolbench.report.summary import Json

FLIPS = 4

ByCell = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, the metric that formats it, each cell's estimate (none where not measured)."""

    heading: str
    shown: Metric
    estimates: Mapping[str, Json]
    caveat: str = ""


@dataclass(frozen=True)
class Flipping:
    """A picture whose answer flips: the picture as a data URI, what it shows, and each answer's share of the shifts."""

    picture: str
    label: str
    answers: Sequence[tuple[str, float]]


def protocols(by_cell: ByCell) -> list[Column]:
    """The published figure of every protocol that was measured, and its caveat."""
    measured = {name for runs in by_cell.values() for run in runs for name in _shifts(run)}
    return [_protocol(by_cell, protocol) for protocol in PROTOCOLS.values() if protocol.name in measured]


def _protocol(by_cell: ByCell, protocol: Protocol) -> Column:
    def figure(run: Result) -> float | None:
        found = _shifts(run).get(protocol.name)
        return found[protocol.figure] if found else None

    shown = metric(f"shift.{protocol.figure}")
    return Column(f"{protocol.title}: {shown.title}", shown, _over_seeds(by_cell, figure), protocol.caveat)


def robustness(by_cell: ByCell) -> list[Column]:
    """Accuracy under each corruption, averaged over the severities."""

    def mean(kind: str, run: Result) -> float:
        return fmean(value for value, *_ in run.metrics["robustness"]["accuracy"][kind])

    return [
        Column(kind.replace("_", " "), metric("test.top1"), _over_seeds(by_cell, partial(mean, kind)))
        for kind in CORRUPTIONS
    ]


def swaps(by_cell: ByCell) -> dict[str, dict[str, dict[str, Json]]]:
    """For each operator swapped in without training, and each cell: what it changes in accuracy and consistency."""
    names = dict.fromkeys(name for runs in by_cell.values() for run in runs for name in run.metrics["swaps"])
    return {
        name: {
            cell: {
                figure: asdict(
                    estimate([run.metrics["swaps"][name][figure] - run.metrics["shift"][figure] for run in swapped])
                )
                for figure in ("accuracy", "consistency")
            }
            for cell, runs in by_cell.items()
            if (swapped := [run for run in runs if name in run.metrics["swaps"]])
        }
        for name in names
    }


def flips(by_cell: ByCell) -> dict[str, list[Flipping]]:
    """The pictures whose answer flips most, for the first run of each cell."""
    return {
        cell: [_flipping(runs[0], flip) for flip in runs[0].metrics["shift"]["flips"][:FLIPS]]
        for cell, runs in by_cell.items()
    }


def picture_margin(by_cell: ByCell) -> float:
    """Half the width of the interval over pictures of a run's consistency, in the mean over runs."""
    ends = [run.metrics["shift"]["intervals"]["consistency"] for runs in by_cell.values() for run in runs]
    return fmean((high - low) / 2 for low, high in ends)


def _shifts(run: Result) -> dict[str, Any]:
    first = run.metrics["shift"]
    return {first["protocol"]: first, **run.metrics["shifts"]}


def _over_seeds(by_cell: ByCell, value: Callable[[Result], float | None]) -> dict[str, Json]:
    values = {cell: [found for run in runs if (found := value(run)) is not None] for cell, runs in by_cell.items()}
    return {cell: asdict(estimate(found)) for cell, found in values.items() if found}


def _flipping(run: Result, flip: Mapping[str, Any]) -> Flipping:
    classes = run.metrics["data"]["classes"]
    answers = [(classes[int(label)], share) for label, share in flip["answers"].items()]
    return Flipping(run.metrics["pictures"][str(flip["image"])], classes[flip["label"]], answers)
