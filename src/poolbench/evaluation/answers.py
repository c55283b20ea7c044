"""What a model answers to pictures as they are and moved: all that the figures are made of, picture by picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from poolbench.evaluation.moves import Motion, Move

Model = Callable[[Tensor], Tensor]
"""Pictures (N, C, H, W) to logits (N, classes)."""

BATCH = 250
SAFETY = 2.0
"""How many times the largest error seen a cheaper arithmetic is taken to err at most."""


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
        bound = 0.0 if autocast is None else SAFETY * (_rough(model, batch, autocast) - plain).abs().max()
        rows: dict[str, list[Tensor]] = {"moved": [], "probability": [], "drift": []}
        for picture in motion(batch, moves):
            if autocast is None:
                logits = model(picture).float()
            else:
                logits = _rough(model, picture, autocast)
                unsure = (_margin(logits) <= 2 * bound) | ((logits - plain).abs().amax(1) <= 2 * bound)
                if unsure.any():
                    logits[unsure] = model(picture[unsure]).float()
            rows["moved"].append(logits.argmax(1))
            rows["probability"].append(_likelihood(logits, truth))
            rows["drift"].append((logits - plain).abs().amax(1))
        stacked = {name: torch.stack(columns, 1) for name, columns in rows.items()}
        batches.append(Answers(truth, plain.argmax(1), _likelihood(plain, truth), **stacked))
    return Answers(
        **{field.name: torch.cat([getattr(batch, field.name) for batch in batches]).cpu() for field in fields(Answers)}
    )


def _rough(model: Model, batch: Tensor, autocast: torch.autocast) -> Tensor:
    with autocast:
        return model(batch).float()


def _likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """The probability that each picture's label is given."""
    return logits.softmax(1).gather(1, labels[:, None])[:, 0]


def _margin(logits: Tensor) -> Tensor:
    """By how much the best answer leads."""
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
