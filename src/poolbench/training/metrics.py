"""The figures of `evaluation.classification` for training, where several processes may each hold a share."""

from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
)


def metrics(classes: int) -> MetricCollection:
    """Top-1 and top-5 accuracy, macro F1 and expected calibration error (15 bins), of logits against labels.

    The stage `evaluate` computes them without torchmetrics, whose import takes longer than the evaluation of a run.
    """
    return MetricCollection(
        {
            "top1": MulticlassAccuracy(classes, average="micro"),
            "top5": MulticlassAccuracy(classes, average="micro", top_k=min(5, max(classes - 1, 1))),
            "macro_f1": MulticlassF1Score(classes, average="macro"),
            "ece": MulticlassCalibrationError(classes, n_bins=15),
        }
    )
