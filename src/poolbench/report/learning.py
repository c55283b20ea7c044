"""What the page shows of runs beyond their ranking: how they learn, what they learn, how far they can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from poolbench.report.drawings import Chart, Line, chart, png, spread
from poolbench.report.records import METRICS, Result

PALETTE = ("#3b7dd8", "#d1602c", "#2a9a6c", "#a35bc2", "#b8860b", "#cf4a6b", "#2b98ad", "#86755a")
MOST_CLASSES = 40
"""Of which a confusion matrix can still be read."""
CONFUSED = 3

ByCell = Mapping[str, Sequence[Result]]


def progress(by_cell: ByCell, key: str) -> tuple[str, dict[str, Chart]]:
    """What was validated after every epoch, and each cell's curve: a line a seed over what all cells' runs span.

    It is the metric at `key` where training logs it, else accuracy, else the loss.
    """
    histories = [run.metrics["history"] for runs in by_cell.values() for run in runs]
    if not histories or not all(histories):
        return "", {}
    names = (key.partition(".")[2], "top1", "loss")
    name = next(each for each in names if all(f"validation_{each}" in rows[0] for rows in histories))
    shown = next(each for each in METRICS if each.key == f"test.{name}")
    column = f"validation_{name}"
    by_epoch: dict[float, list[float]] = {}
    for row in (row for rows in histories for row in rows):
        by_epoch.setdefault(row["epoch"], []).append(shown.scale * row[column])
    epochs = sorted(by_epoch)
    low, high = ([(epoch, end(by_epoch[epoch])) for epoch in epochs] for end in (min, max))
    charts = {
        cell: chart(
            [
                Line([(row["epoch"], shown.scale * row[column]) for row in run.metrics["history"]], f"seed {run.seed}")
                for run in runs
            ],
            (epochs[0], epochs[-1]),
            spread([value for values in by_epoch.values() for value in values]),
            band=[*high, *reversed(low)],
        )
        for cell, runs in by_cell.items()
    }
    return f"{shown.heading} of the held-out pictures", charts


@dataclass(frozen=True)
class Learned:
    """How one letter of an operator's formula moves while it is learned, a line a slot and seed."""

    letter: str
    figure: Chart
    slots: Mapping[str, str]
    """The colour of each slot."""
    last: Mapping[str, float]
    """Its mean over channels and seeds after the last epoch, by slot."""


def learned(by_cell: ByCell) -> dict[str, list[Learned]]:
    """Of each cell that learns something with a letter: every letter."""
    found = {}
    for cell, runs in by_cell.items():
        letters = dict.fromkeys(row["letter"] for run in runs for row in run.metrics["learned"])
        if letters:
            found[cell] = [_learned(runs, letter) for letter in letters]
    return found


def _learned(runs: Sequence[Result], letter: str) -> Learned:
    lines: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for run in runs:
        for row in run.metrics["learned"]:
            if row["letter"] == letter:
                lines.setdefault((row["slot"], run.seed), []).append((row["epoch"], row["mean"]))
    slots = {slot: PALETTE[place % len(PALETTE)] for place, slot in enumerate(dict.fromkeys(slot for slot, _ in lines))}
    values = [point for points in lines.values() for point in points]
    figure = chart(
        [Line(points, f"{slot}, seed {seed}", slots[slot]) for (slot, seed), points in lines.items()],
        (min(epoch for epoch, _ in values), max(epoch for epoch, _ in values)),
        spread([value for _, value in values]),
    )
    ends = {slot: [points[-1][1] for (each, _), points in lines.items() if each == slot] for slot in slots}
    return Learned(letter, figure, slots, {slot: sum(each) / len(each) for slot, each in ends.items()})


def calibration(by_cell: ByCell) -> dict[str, Chart]:
    """Each cell's reliability: accuracy of the pictures in a bin of confidence, a line a seed, over the diagonal."""
    return {
        cell: chart(
            [
                Line([(0, 0), (100, 100)], "as confident as right", "var(--soft)", dotted=True),
                *(
                    Line(
                        [
                            (100 * confidence, 100 * accuracy)
                            for count, confidence, accuracy in run.metrics["reliability"]
                            if count
                        ],
                        f"seed {run.seed}",
                    )
                    for run in runs
                ),
            ],
            (0, 100),
            (0, 100),
            size=(190, 150),
        )
        for cell, runs in by_cell.items()
    }


@dataclass(frozen=True)
class Confusion:
    """Which classes are taken for which: a picture of the matrix (none of very many classes), and the commonest."""

    picture: str
    commonest: Sequence[tuple[str, str, float]]
    """Class, answer, and the share of the class's pictures that got it."""


def confusion(by_cell: ByCell) -> dict[str, Confusion]:
    """Each cell's confusion matrix, over all its runs."""
    return {cell: _confusion(runs) for cell, runs in by_cell.items()}


def _confusion(runs: Sequence[Result]) -> Confusion:
    classes = runs[0].metrics["data"]["classes"]
    counts = torch.zeros(len(classes), len(classes))
    for run in runs:
        for label, answers in run.metrics["confusion"].items():
            for answer, count in answers.items():
                counts[int(label), int(answer)] += count
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    wrong = shares.clone().fill_diagonal_(0)
    pairs = [
        divmod(place, len(classes)) for place in wrong.flatten().topk(min(CONFUSED, wrong.numel())).indices.tolist()
    ]
    low, high = torch.tensor([244.0, 246.0, 250.0]), torch.tensor([24.0, 62.0, 128.0])
    depth = shares.sqrt()[..., None]  # errors are a few percent: a straight scale would hide them
    return Confusion(
        png(low + depth * (high - low)) if len(classes) <= MOST_CLASSES else "",
        [(classes[label], classes[answer], wrong[label, answer].item()) for label, answer in pairs],
    )
