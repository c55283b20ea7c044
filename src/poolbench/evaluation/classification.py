"""How well a classifier does on pictures as they are."""

import torch
from torch import Tensor

BINS = 15


def classification(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Top-1 and top-5 accuracy, macro F1, expected calibration error (15 bins) of logits (N, classes), labels (N,).

    With five classes or fewer, top-5 counts the best `classes - 1`, as any answer would be right otherwise. A class
    that is neither among the labels nor among the answers has no F1.

    >>> classification(torch.eye(3) * 9, torch.tensor([0, 1, 1]))["top1"]
    0.6666666865348816
    """
    logits = logits.float()
    classes = logits.shape[1]
    answer = logits.argmax(1)
    hit = (answer == labels).float()
    best = logits.topk(min(5, max(classes - 1, 1)), 1).indices
    return {
        "top1": hit.mean().item(),
        "top5": (best == labels[:, None]).any(1).float().mean().item(),
        "macro_f1": _macro_f1(answer, labels, classes),
        "ece": _calibration_error(logits, labels),
    }


def _macro_f1(answer: Tensor, labels: Tensor, classes: int) -> float:
    """The mean over classes of 2 · right / (answered + there are)."""
    both = answer.bincount(minlength=classes) + labels.bincount(minlength=classes)
    right = labels[answer == labels].bincount(minlength=classes)
    return (2 * right[both > 0] / both[both > 0]).mean().item()


def _calibration_error(logits: Tensor, labels: Tensor) -> float:
    """The mean distance of confidence from accuracy."""
    bins = reliability(logits, labels)
    return sum(count * abs(accuracy - confidence) for count, confidence, accuracy in bins) / len(labels)


def reliability(logits: Tensor, labels: Tensor) -> list[tuple[int, float, float]]:
    """Of the pictures in each of 15 bins (low, high] of confidence: how many, mean confidence, accuracy (0 of none).

    >>> reliability(torch.eye(3) * 9, torch.tensor([0, 1, 1]))[-1][0]
    3
    """
    confidence, answer = logits.float().softmax(1).max(1)
    edges = torch.linspace(0, 1, BINS + 1, device=confidence.device)
    bins = torch.bucketize(confidence, edges[1:-1])
    counts = bins.bincount(minlength=BINS)
    sums = [bins.bincount(each.double(), BINS) / counts.clamp(min=1) for each in (confidence, answer == labels)]
    return list(zip(counts.tolist(), *(each.tolist() for each in sums), strict=True))


def confusion(logits: Tensor, labels: Tensor) -> dict[int, dict[int, int]]:
    """How many pictures of a class got an answer: `[label][answer]`, without those that no picture got.

    >>> confusion(torch.eye(3) * 9, torch.tensor([0, 1, 1]))
    {0: {0: 1}, 1: {1: 1, 2: 1}}
    """
    classes = logits.shape[1]
    pairs, counts = (labels * classes + logits.argmax(1)).unique(return_counts=True)
    found: dict[int, dict[int, int]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(pair // classes, {})[pair % classes] = count
    return found
