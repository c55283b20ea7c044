"""How well a segmentation follows outlines, which the intersection over union of whole areas hardly sees."""

from math import hypot

import torch
import torch.nn.functional as F
from torch import Tensor

SHARE = 0.02
"""Of a picture's diagonal: how far from an outline its band reaches, as the authors set it."""


def boundary_iou(answer: Tensor, truth: Tensor, classes: int, distance: int, ignore: int = -1) -> Tensor:
    """Intersection and union of the bands along the outlines of each class: labels (N, H, W) twice to (2, classes).

    A class's band is what of its area lies within `distance` pixels of the outside, in rows and columns alike; beyond
    the picture is outside. Add the counts of all pictures, then divide. Pixels whose truth is `ignore` count nowhere.
    Source: Cheng, Girshick, Dollár, Berg, Kirillov, Boundary IoU (2021), https://arxiv.org/abs/2103.16562

    >>> square = torch.zeros(1, 6, 6, dtype=torch.long)
    >>> square[:, 1:5, 1:5] = 1
    >>> boundary_iou(square.roll(1, 2), square, 2, 1)[:, 1].tolist()
    [6, 18]
    """
    counted = truth != ignore
    found, true = (_bands(labels.where(counted, ignore), classes, distance) for labels in (answer, truth))
    both = [(found & true), (found | true)]
    return torch.stack([each.sum((0, 2, 3)) for each in both])


def _bands(labels: Tensor, classes: int, distance: int) -> Tensor:
    """The band of each class inside its outlines, (N, classes, H, W)."""
    area = labels[:, None] == torch.arange(classes, device=labels.device)[:, None, None]
    outside = F.pad((~area).float(), [distance] * 4, value=1.0)
    return area & F.max_pool2d(outside, 2 * distance + 1, 1).bool()


def band(height: int, width: int) -> int:
    """How many pixels the bands of a picture of this size reach: 2 % of its diagonal, one at least.

    >>> band(480, 640), band(28, 28)
    (16, 1)
    """
    return max(round(SHARE * hypot(height, width)), 1)
