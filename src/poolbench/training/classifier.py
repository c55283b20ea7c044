"""The task `classification`: one class a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.data import Store
from poolbench.training.metrics import metrics
from poolbench.training.module import Task


class Classifier(Task):
    """Cross-entropy of images (B, C, H, W) and labels (B,)."""

    watched = "top1"

    def __init__(
        self, network: nn.Module, head: Sequence[nn.Module], store: Store, settings: Mapping[str, Any]
    ) -> None:
        super().__init__(network, head, store, settings)
        self.validation = metrics(len(store.classes))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.network(images), labels, label_smoothing=self.optimizer["label_smoothing"])

    def answers(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = batch
        return self.network(images).float(), labels

    def figures(self, *answers: Tensor) -> dict[str, Tensor]:
        logits, labels = answers
        self.validation.update(logits, labels)
        found = self.validation.compute()
        self.validation.reset()
        return {"loss": F.cross_entropy(logits, labels), **found}
