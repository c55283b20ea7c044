"""What a classifier's answers do when the picture is shifted."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Classifier = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Shift:
    """Figures over every shift of up to `range` pixels in both axes; the unshifted picture counts nowhere but in maps.

    Shares lie in 0..1. Maps are indexed [dy + range][dx + range].
    """

    protocol: str
    range: int
    images: int
    consistency: float
    """Share of (picture, shift) whose answer agrees with the unshifted one."""
    consistency_correct: float
    """The same among pictures that are classified correctly unshifted; 0 where there are none."""
    mean_accuracy: float
    worst_accuracy: float
    """Share of pictures that are classified correctly at every shift, the identity too."""
    logit_drift: float
    """Largest change of a logit, averaged over pictures and shifts."""
    accuracy_map: list[list[float]]
    agreement_map: list[list[float]]


@torch.inference_mode()
def circular(classify: Classifier, images: Tensor, labels: Tensor, radius: int, batch_size: int = 1000) -> Shift:
    """Every circular shift of up to `radius` pixels of `images` (N, C, H, W), labels (N,).

    Raises ValueError for a radius below 1 or one that wraps a picture onto itself.

    >>> images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    >>> labels = torch.zeros(4, dtype=torch.long)
    >>> circular(lambda batch: torch.ones(len(batch), 2), images, labels, radius=1).consistency
    1.0
    """
    if not 1 <= radius <= (min(images.shape[2:]) - 1) // 2:
        raise ValueError(
            f"shift.range must be from 1 to {(min(images.shape[2:]) - 1) // 2} for pictures of "
            f"{images.shape[2]} x {images.shape[3]} pixels, got {radius}"
        )
    offsets = [(dy, dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)]
    side = 2 * radius + 1
    agree, right = (torch.zeros(len(offsets), dtype=torch.long) for _ in range(2))
    agree_correct, correct, always, drift = 0, 0, 0, 0.0
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        logits = classify(batch).float()
        answer = logits.argmax(1)
        known, never_wrong = answer == truth, torch.ones_like(truth, dtype=torch.bool)
        for number, offset in enumerate(offsets):
            moved = logits if offset == (0, 0) else classify(batch.roll(offset, (2, 3))).float()
            same, hit = moved.argmax(1) == answer, moved.argmax(1) == truth
            agree[number] += same.sum().cpu()
            right[number] += hit.sum().cpu()
            agree_correct += int((same & known).sum())
            never_wrong &= hit
            drift += float((moved - logits).abs().amax(1).sum())
        correct += int(known.sum())
        always += int(never_wrong.sum())
    others = len(offsets) - 1
    identity = others // 2
    count = len(images)
    moved_only = torch.arange(len(offsets)) != identity
    return Shift(
        protocol="circular",
        range=radius,
        images=count,
        consistency=agree[moved_only].sum().item() / (others * count),
        consistency_correct=(agree_correct - correct) / (others * correct) if correct else 0.0,
        mean_accuracy=right[moved_only].sum().item() / (others * count),
        worst_accuracy=always / count,
        logit_drift=drift / (others * count),
        accuracy_map=(right.double() / count).reshape(side, side).tolist(),
        agreement_map=(agree.double() / count).reshape(side, side).tolist(),
    )
