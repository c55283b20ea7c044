"""What a study shows of its cells' runs under shifts: tables, layers, examples, and the pictures that flip."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import Any

from poolbench.evaluation import CORRUPTIONS, PROTOCOLS, Protocol
from poolbench.report.drawings import Chart, Line, chart
from poolbench.report.records import METRICS, Metric, Result, metric
from poolbench.report.statistics import estimate
from poolbench.report.summary import Json, estimated

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


def columns(summary: Json, cells: Sequence[str], *sections: str) -> list[Column]:
    """The metrics of some sections of an evaluation that any of the cells has."""
    found = []
    for each in METRICS:
        if each.key.partition(".")[0] in sections:
            estimates = {cell: mean for cell in cells if (mean := estimated(summary, cell, each.key))}
            if estimates:
                found.append(Column(each.heading, each, estimates))
    return found


@dataclass(frozen=True)
class Layer:
    """A layer of one cell: equivariance error, its share of the largest in the study, output size, field of view."""

    error: float
    share: float
    shape: str
    sees: str


def layers(by_cell: ByCell) -> list[tuple[list[str], dict[str, list[Layer]]]]:
    """Cells with the same layers together: the layers' names, and each cell's, means over its runs."""
    largest = max(
        (errors[0] for runs in by_cell.values() for run in runs for errors in run.metrics["layers"].values()), default=0
    )
    alike: dict[tuple[str, ...], dict[str, list[Layer]]] = {}
    for cell, runs in by_cell.items():
        names = tuple(runs[0].metrics["layers"])
        alike.setdefault(names, {})[cell] = [_layer(runs, name, largest) for name in names]
    return [(list(names), cells) for names, cells in alike.items()]


def _layer(runs: Sequence[Result], name: str, largest: float) -> Layer:
    error = fmean(run.metrics["layers"][name][0] for run in runs)
    geometry = runs[0].metrics["geometry"][name]
    return Layer(
        error,
        error / (largest or 1.0),
        " × ".join(map(str, geometry["shape"])),
        " × ".join(map(str, geometry["sees"] or [])),
    )


@dataclass(frozen=True)
class Example:
    """A test picture, what it shows, and the probability of that along the diagonal, for each cell."""

    picture: str
    label: str
    lines: Mapping[str, Chart]
    lowest: Mapping[str, float]


def examples(by_cell: ByCell) -> list[Example]:
    """The first test pictures of a study on one data set; none where its cells see different ones."""
    if len({run.metrics["data"]["checksum"] for runs in by_cell.values() for run in runs}) != 1:
        return []
    metrics = next(iter(by_cell.values()))[0].metrics
    return [
        _example(by_cell, place, metrics["pictures"][str(place)], metrics["data"]["classes"][label])
        for place, label in enumerate(metrics["shift"]["diagonal"]["labels"])
    ]


def _example(by_cell: ByCell, place: int, picture: str, label: str) -> Example:
    lines, lowest = {}, {}
    for cell, runs in by_cell.items():
        steps = runs[0].metrics["shift"]["diagonal"]["steps"]
        found = [run.metrics["shift"]["diagonal"]["probability"][place] for run in runs]
        means = [100 * fmean(values) for values in zip(*found, strict=True)]
        line = Line(list(zip(steps, means, strict=True)))
        lines[cell] = chart([line], (steps[0], steps[-1]), (0, 100), size=(96, 30), bare=True)
        lowest[cell] = min(means)
    return Example(picture, label, lines, lowest)


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
