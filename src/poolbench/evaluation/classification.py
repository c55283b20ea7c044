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
    confidence, answer = logits.softmax(1).max(1)
    hit = (answer == labels).float()
    best = logits.topk(min(5, max(classes - 1, 1)), 1).indices
    return {
        "top1": hit.mean().item(),
        "top5": (best == labels[:, None]).any(1).float().mean().item(),
        "macro_f1": _macro_f1(answer, labels, classes),
        "ece": _calibration_error(confidence, hit),
    }


def _macro_f1(answer: Tensor, labels: Tensor, classes: int) -> float:
    """The mean over classes of 2 · right / (answered + there are)."""
    both = answer.bincount(minlength=classes) + labels.bincount(minlength=classes)
    right = labels[answer == labels].bincount(minlength=classes)
    return (2 * right[both > 0] / both[both > 0]).mean().item()


def _calibration_error(confidence: Tensor, hit: Tensor) -> float:
    """The mean distance of confidence from accuracy, over bins (low, high] of equal width."""
    edges = torch.linspace(0, 1, BINS + 1, device=confidence.device)
    bins = torch.bucketize(confidence, edges[1:-1])
    distance = torch.zeros(BINS, device=confidence.device).index_add_(0, bins, hit - confidence)
    return (distance.abs().sum() / len(hit)).item()
