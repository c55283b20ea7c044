"""How well a network names the class of each pixel."""

import torch
from torch import Tensor

from poolbench.evaluation.boundary import band, boundary_iou


def overlaps(answer: Tensor, truth: Tensor, classes: int, ignore: int = -1) -> Tensor:
    """Intersection, union and true pixels of each class: labels (N, H, W) twice to (3, classes).

    Add those of all pictures, then divide. Pixels whose truth is `ignore` count nowhere.

    >>> overlaps(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[0, 0, -1]]]), 2).tolist()
    [[1, 0], [2, 1], [2, 0]]
    """
    counted = truth != ignore
    answer, truth = answer[counted], truth[counted]
    both = truth[answer == truth].bincount(minlength=classes)
    answered, true = (labels.bincount(minlength=classes) for labels in (answer, truth))
    return torch.stack([both, answered + true - both, true])


def segmentation(counts: Tensor) -> dict[str, float]:
    """Mean intersection over union, and the share of pixels that are right, of `overlaps` (3, classes).

    A class that is neither there nor answered has no IoU.

    >>> segmentation(torch.tensor([[1, 0, 0], [2, 1, 0], [2, 0, 0]]))
    {'miou': 0.25, 'pixels': 0.5}
    """
    both, union, true = counts
    return {"miou": mean_iou(both, union), "pixels": (both.sum() / true.sum()).item()}


def mean_iou(intersection: Tensor, union: Tensor) -> float:
    """The mean over the classes that occur, of counts (classes,)."""
    return (intersection[union > 0] / union[union > 0]).mean().item()


def outlines(answer: Tensor, truth: Tensor, classes: int) -> Tensor:
    """`boundary_iou` of one picture (H, W), its bands as wide as its size asks for: (2, classes)."""
    return boundary_iou(answer[None], truth[None], classes, band(*truth.shape))
