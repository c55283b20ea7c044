"""What a model answers to pictures as they are and moved: all that the figures are made of, picture by picture."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from poolbench.evaluation.moves import Motion, Move

Model = Callable[[Tensor], Tensor]
"""Pictures (N, C, H, W) to logits (N, classes)."""

BATCH = 250
SAFETY = 2.0
"""How many times the largest error seen a cheaper arithmetic is taken to err at most."""
CLOSEST = 32
"""Pictures at least that tell how much it errs where two answers are close."""


@dataclass(frozen=True)
class Answers:
    """Of N pictures under S moves, on the CPU."""

    labels: Tensor
    """(N,)"""
    answer: Tensor
    """(N,), of the picture as it is."""
    likelihood: Tensor
    """(N,), what the true class of the picture as it is is given."""
    moved: Tensor
    """(N, S), of the moved picture."""
    probability: Tensor
    """(N, S), what the moved picture's true class is given."""
    drift: Tensor
    """(N, S), the largest change of a logit."""

    def of(self, columns: Sequence[int]) -> "Answers":
        """The answers to some of the moves."""
        chosen = torch.tensor(columns)
        parts = (self.moved[:, chosen], self.probability[:, chosen], self.drift[:, chosen])
        return Answers(self.labels, self.answer, self.likelihood, *parts)


@torch.inference_mode()
def ask(
    model: Model,
    images: Tensor,
    labels: Tensor,
    motion: Motion,
    moves: Sequence[Move],
    batch_size: int = BATCH,
    autocast: torch.autocast | None = None,
) -> Answers:
    """Answers of `model` to `images` (N, C, H, W), labels (N,), as they are and moved.

    `autocast` is a cheaper arithmetic. Where its error, measured on each batch of pictures as they are, could change an
    answer or makes up half of the drift, the picture is computed again without it.

    >>> images, labels = torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)
    >>> from poolbench.evaluation.moves import circular
    >>> ask(lambda batch: torch.ones(len(batch), 2), images, labels, circular, [(0, 1), (0, 2)]).moved.shape
    torch.Size([4, 2])
    """
    batches = []
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        plain = model(batch).float()
        pictures = (picture.contiguous() for picture in motion(batch, moves))  # read faster than a view
        if autocast is None:
            logits = torch.stack([model(picture).float() for picture in pictures], 1)
        else:
            logits = _checked(model, pictures, batch, plain, autocast)
        moved = (
            logits.argmax(2),
            _likelihood(logits, truth[:, None].expand(-1, len(moves))),
            (logits - plain[:, None]).abs().amax(2),
        )
        batches.append(Answers(truth, plain.argmax(1), _likelihood(plain, truth), *moved))
    return Answers(
        **{field.name: torch.cat([getattr(batch, field.name) for batch in batches]).cpu() for field in fields(Answers)}
    )


def _checked(
    model: Model, pictures: Iterable[Tensor], batch: Tensor, plain: Tensor, autocast: torch.autocast
) -> Tensor:
    """Logits (N, S, classes) of moved `pictures`, those in doubt without `autocast`; `plain` are those of the `batch`.

    In doubt is an answer whose lead over the next is within what `autocast` errs in such a lead, and a drift that is
    mostly error. They are computed again in whole batches, from several moves.
    """
    with autocast:
        rough = model(batch).float()
    close, error = SAFETY * _lead_error(rough, plain), SAFETY * (rough - plain).abs().max()
    made: list[Tensor] = []
    doubted: list[tuple[Tensor, int]] = []
    waiting: list[Tensor] = []

    def settle() -> None:
        exact = model(torch.cat(waiting)).float().split([len(rows) for rows, _ in doubted])
        for (rows, column), logits in zip(doubted, exact, strict=True):
            made[column][rows] = logits
        doubted.clear()
        waiting.clear()

    for picture in pictures:
        with autocast:
            logits = model(picture).float()
        made.append(logits)
        doubt = (_lead(logits) <= close) | ((logits - plain).abs().amax(1) <= error)
        if len(rows := doubt.nonzero()[:, 0]):
            doubted.append((rows, len(made) - 1))
            waiting.append(picture[rows])
        if sum(map(len, waiting)) >= len(batch):
            settle()
    if waiting:
        settle()
    return torch.stack(made, 1)


def _lead_error(rough: Tensor, plain: Tensor) -> Tensor:
    """By how much the lead of an answer is wrong at most, among the pictures where it is small."""
    best = rough.topk(min(2, rough.shape[1]), 1).indices
    change = (rough - plain).gather(1, best)
    small = _lead(rough).argsort()[: max(len(rough) // 4, CLOSEST)]
    return (change[:, 0] - change[:, -1])[small].abs().max()


def _likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """The probability that each picture's label is given."""
    return logits.softmax(-1).gather(-1, labels[..., None])[..., 0]


def _lead(logits: Tensor) -> Tensor:
    """By how much the best answer is ahead of the next."""
    best = logits.topk(min(2, logits.shape[1]), 1).values
    return best[:, 0] - best[:, -1]


def period(model: Model, images: Tensor) -> tuple[int, int]:
    """The shortest circular shifts, down and to the right, that leave the logits of `images` as they are.

    The total stride of a network with circular padding and a global head whose strides divide the size; where there is
    none, the sides. Tried on the pictures and on noise, each by itself.

    >>> period(lambda batch: batch.float().mean((2, 3)), torch.rand(2, 3, 8, 12))
    (1, 1)
    """
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).to(images.device)
    probe = torch.cat([images.float(), 255 * noise])
    return _period(model, probe, 2), _period(model, probe, 3)


@torch.inference_mode()
def _period(model: Model, probe: Tensor, axis: int) -> int:
    plain = model(probe).float()
    side = probe.shape[axis]
    for step in (step for step in range(1, side) if side % step == 0):
        if torch.allclose(model(probe.roll(step, axis)).float(), plain, rtol=1e-4, atol=1e-4):
            return step
    return side
