"""How well a network names the class of each pixel."""

from typing import Any

import torch
from torch import Tensor

from poolbench.data.feed import batch_of
from poolbench.data.objects import Scenes
from poolbench.evaluation.answers import Model
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


def painted(image: Tensor, truth: Tensor, answer: Tensor) -> Tensor:
    """A picture uint8 (C, H, W), its true classes and the answer, each class of its own colour: uint8 (3, H, 3W).

    `answer` (H', W') may reach beyond the picture. The ground is black, and what counts nowhere white.
    """
    height, width = truth.shape
    turns = 0.618 * torch.arange(1, 256)[:, None] + torch.tensor([0, 1 / 3, 2 / 3])  # hues far apart
    colours = 0.5 + 0.5 * (2 * torch.pi * turns).cos()
    palette = torch.cat([torch.zeros(1, 3), colours, torch.ones(1, 3)]).mul(255).byte().to(truth.device)
    maps = [palette[labels].movedim(2, 0) for labels in (truth, answer[:height, :width])]
    return torch.cat([image.expand(3, -1, -1), *maps], 2)


@torch.inference_mode()
def segmented(model: Model, scenes: Scenes, fill: Tensor, classes: int, batch_size: int) -> dict[str, Any]:
    """Mean IoU, boundary IoU and pixel accuracy of a model on scenes, and the IoU of each class, the ground's first.

    `fill` (C,) is the colour beyond a picture, of 0 to 255.
    """
    areas, edges = torch.zeros(3, classes, dtype=torch.long), torch.zeros(2, classes, dtype=torch.long)
    order = scenes.sizes.prod(1).argsort()  # like sizes together: less is computed beyond a picture
    for indices in order.split(batch_size):
        batch = batch_of(scenes, indices.tolist(), fill)
        answers, truths = model(batch.images).argmax(1).cpu(), batch.semantic.cpu()
        areas += overlaps(answers, truths, classes)
        for answer, truth, (height, width) in zip(answers, truths, batch.sizes.tolist(), strict=True):
            edges += outlines(answer[:height, :width], truth[:height, :width], classes)
    by_class = [both / union if union else None for both, union in areas[:2].T.tolist()]
    test = {"images": len(scenes), **segmentation(areas), "boundary_iou": mean_iou(*edges)}
    return {"test": test, "iou": by_class}
