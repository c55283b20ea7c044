"""How well a classifier does on pictures as they are."""

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
)


def metrics(classes: int) -> MetricCollection:
    """Top-1 and top-5 accuracy, macro F1 and expected calibration error (15 bins), of logits against labels.

    With five classes or fewer, top-5 counts the best `classes - 1`, as any answer would be right otherwise.
    """
    return MetricCollection(
        {
            "top1": MulticlassAccuracy(classes, average="micro"),
            "top5": MulticlassAccuracy(classes, average="micro", top_k=min(5, max(classes - 1, 1))),
            "macro_f1": MulticlassF1Score(classes, average="macro"),
            "ece": MulticlassCalibrationError(classes, n_bins=15),
        }
    )


def classification(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """The figures of `metrics` for logits (N, classes) and labels (N,).

    >>> import torch
    >>> classification(torch.eye(3) * 9, torch.tensor([0, 1, 1]))["top1"]
    0.6666666865348816
    """
    collection = metrics(logits.shape[1]).to(logits.device)
    collection.update(logits.float(), labels)
    return {name: value.item() for name, value in collection.compute().items()}
