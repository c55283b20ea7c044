"""What a classifier's answers do when the picture is moved."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from poolbench.evaluation.answers import BATCH, Answers, Model, ask, period
from poolbench.evaluation.interval import Estimate, grouped_estimates
from poolbench.evaluation.moves import Move, circular
from poolbench.evaluation.protocols import protocol

FLIPS = 6
DIAGONALS = 4
PERIOD_IMAGES = 32


@dataclass(frozen=True)
class Flip:
    """A picture whose answer changes often: its place among the pictures, and the share of the moves of each answer."""

    image: int
    label: int
    answer: int
    consistency: float
    answers: dict[int, float]


@dataclass(frozen=True)
class Diagonal:
    """The first pictures, as they are and as they move by `steps` from up left to down right."""

    steps: list[float]
    labels: list[int]
    probability: list[list[float]]
    """Of the true class: a row a picture, a column a step."""


@dataclass(frozen=True)
class Shift:
    """Figures of one protocol. Shares lie in 0..1; `intervals` has the 95 % interval of each figure, by its name.

    Unless the protocol has it among its moves, the picture as it is counts only as what answers are compared with, and
    in the worst accuracy.
    """

    protocol: str
    caveat: str
    range: int
    images: int
    moves: list[Move]
    accuracy: float
    """Of the pictures as they are."""
    consistency: float
    """Share of (picture, move) whose answer agrees with that of the picture as it is."""
    pairwise_agreement: float
    """Share of pairs of moves that agree: of two different ones, or as the protocol draws them."""
    consistency_correct: float
    """`consistency` among pictures that are classified correctly as they are; 0 where there are none."""
    mean_accuracy: float
    """Share of (picture, move) that is classified correctly."""
    worst_accuracy: float
    """Share of pictures that are classified correctly under every move and as they are."""
    logit_drift: float
    """Largest change of a logit, averaged over pictures and moves."""
    largest_drift: float
    """Largest change of a logit under any move, averaged over pictures."""
    probability_variation: float
    """Standard deviation over the moves of the true class's probability, averaged over pictures (Zhang 2019)."""
    maximum_drift: float
    """Largest change of a logit of any picture under any move: of one picture, so without an interval."""
    intervals: dict[str, tuple[float, float]]
    by_class: dict[int, dict[str, Estimate]]
    """Each figure, of the pictures of each label alone, with its interval."""
    accuracy_by_move: list[float]
    agreement_by_move: list[float]
    diagonal: Diagonal
    flips: list[Flip]


def shift(
    model: Model,
    images: Tensor,
    labels: Tensor,
    protocols: Sequence[str] = ("circular",),
    radius: int = 3,
    *,
    fill: Tensor | float = 0.0,
    batch_size: int = BATCH,
    autocast: torch.autocast | None = None,
    periodic: bool = False,
) -> dict[str, Shift]:
    """Measure `model` by the named protocols on `images` (N, C, H, W), labels (N,); ours move by up to `radius` pixels.

    A move that several protocols share is made once. `fill` is the colour that the model's normalisation maps to 0 (a
    number, or one a channel), `autocast` a cheaper arithmetic to use where it changes no answer (see `ask`). With
    `periodic`, circular shifts that differ by the network's period (see `period`) are made once, too. A module is put
    into evaluation mode. Raises ValueError for an unknown protocol, a range that the pictures do not have, none at all.

    >>> images, labels = torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)
    >>> shift(lambda batch: torch.ones(len(batch), 2), images, labels)["circular"].consistency
    1.0
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(f"shift needs pictures and a label for each, got {len(images)} and {len(labels)}")
    if isinstance(model, nn.Module):
        model.eval()
    chosen = {name: protocol(name).chosen(radius, *images.shape[2:]) for name in protocols}
    together: dict[tuple[object, bool], list[str]] = {}
    for name in chosen:
        together.setdefault((protocol(name).motion, protocol(name).fills), []).append(name)
    found = {}
    for (motion, _), names in together.items():
        every = list(dict.fromkeys(move for name in names for move in chosen[name]))
        shared = list(range(len(every)))
        made = every
        if periodic and motion is circular:
            down, right = period(model, images[:PERIOD_IMAGES])
            rests = [(move[0] % down, move[1] % right) for move in every]
            made = list(dict.fromkeys(rests))
            shared = [made.index(rest) for rest in rests]
        answers = ask(model, images, labels, protocol(names[0]).moving(fill), made, batch_size, autocast)
        column = dict(zip(every, shared, strict=True))
        for name in names:
            own = answers.of([column[move] for move in chosen[name]])
            total = len(protocol(name).moves(radius, *images.shape[2:]))
            found[name] = _figures(own, name, radius, chosen[name], total)
    return {name: found[name] for name in protocols}


def _figures(answers: Answers, name: str, radius: int, made: list[Move], total: int) -> Shift:
    """Everything that a protocol of `total` moves, of which `made` were made, says about these answers."""
    hit = answers.moved == answers.labels[:, None]
    agree = answers.moved == answers.answer[:, None]
    known = (answers.answer == answers.labels).double()
    agreement = agree.double().mean(1)
    of_all = torch.ones_like(known)
    shares = {
        "accuracy": (known, of_all),
        "consistency": (agreement, of_all),
        "pairwise_agreement": (_pairs(answers.moved, total if protocol(name).identical_pairs else None), of_all),
        "consistency_correct": (known * agreement, known),
        "mean_accuracy": (hit.double().mean(1), of_all),
        "worst_accuracy": (known * hit.all(1), of_all),
        "logit_drift": (answers.drift.double().mean(1), of_all),
        "largest_drift": (answers.drift.double().amax(1), of_all),
        "probability_variation": (answers.probability.double().std(1, correction=0), of_all),
    }
    overall, by_class = grouped_estimates(shares, answers.labels)
    return Shift(
        protocol=name,
        caveat=protocol(name).caveat,
        range=radius,
        images=len(known),
        moves=made,
        **{key: value for key, (value, _, _) in overall.items()},
        maximum_drift=answers.drift.max().item(),
        intervals={key: (low, high) for key, (_, low, high) in overall.items()},
        by_class=by_class,
        accuracy_by_move=hit.double().mean(0).tolist(),
        agreement_by_move=agree.double().mean(0).tolist(),
        diagonal=_diagonal(answers, made),
        flips=[_flip(answers, index) for index in agreement.argsort(stable=True)[:FLIPS].tolist()],
    )


def _diagonal(answers: Answers, made: Sequence[Move]) -> Diagonal:
    columns = {0.0: answers.likelihood}
    for place, move in enumerate(made):
        if len(move) == 2 and move[0] == move[1]:
            columns[move[0]] = answers.probability[:, place]
    steps = sorted(columns)
    probability = torch.stack([columns[step][:DIAGONALS] for step in steps], 1)
    return Diagonal(steps, answers.labels[:DIAGONALS].tolist(), probability.tolist())


def _pairs(moved: Tensor, total: int | None) -> Tensor:
    """The share of pairs of moves that agree, a picture at a time: (N, S) to (N,).

    Pairs of two different moves; of two drawn apart from `total` moves, where that is given.
    """
    count = moved.shape[1]
    named = torch.zeros(len(moved), int(moved.max()) + 1, dtype=torch.double)
    named.scatter_add_(1, moved, torch.ones_like(moved, dtype=torch.double))
    different = (named * (named - 1)).sum(1) / (count * (count - 1))
    return different if total is None else different + (1 - different) / total


def _flip(answers: Answers, index: int) -> Flip:
    moved = answers.moved[index]
    labels, counts = moved.unique(return_counts=True)
    shares = dict(zip(labels.tolist(), (counts.double() / len(moved)).tolist(), strict=True))
    answer = int(answers.answer[index])
    return Flip(
        image=index,
        label=int(answers.labels[index]),
        answer=answer,
        consistency=shares.get(answer, 0.0),
        answers=dict(sorted(shares.items(), key=lambda share: -share[1])),
    )
