"""The task `segmentation`: the class of each pixel."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.data import IGNORED, Scenes, Store
from poolbench.data.feed import SceneBatch, batch_of
from poolbench.data.store import Part
from poolbench.evaluation.segmentation import overlaps, painted, segmentation
from poolbench.training.detector import SHOWN
from poolbench.training.module import Task


class Segmenter(Task):
    """Cross-entropy of each pixel of a batch of scenes; what lies beyond a picture, and crowds, count nowhere."""

    watched = "miou"

    def __init__(
        self, network: nn.Module, head: Sequence[nn.Module], store: Store, settings: Mapping[str, Any]
    ) -> None:
        super().__init__(network, head, store, settings)
        self.classes, self.fill = len(store.classes) + 1, 255 * torch.tensor(store.mean)

    def loss(self, batch: SceneBatch) -> Tensor:
        logits = self.network(batch.images).float()
        smoothing = self.optimizer["label_smoothing"]
        return F.cross_entropy(logits, batch.semantic, ignore_index=IGNORED, label_smoothing=smoothing)

    def answers(self, batch: SceneBatch) -> tuple[Tensor, ...]:
        logits, truth = self.network(batch.images).float(), batch.semantic
        counted = (truth != IGNORED).sum()
        loss = F.cross_entropy(logits, truth, ignore_index=IGNORED, reduction="sum")
        return torch.stack([loss, counted])[None], overlaps(logits.argmax(1), truth, self.classes)[None]

    def figures(self, *answers: Tensor) -> dict[str, Tensor]:
        losses, counts = (each.sum(0) for each in answers)
        found = segmentation(counts)
        return {"loss": losses[0] / losses[1], **{name: torch.tensor(value) for name, value in found.items()}}

    @torch.inference_mode()
    def pictures(self, held: Part) -> list[Tensor]:
        assert isinstance(held, Scenes)
        batch = batch_of(held, range(min(SHOWN, len(held))), self.fill.to(held.sizes.device))
        answers = self.network(batch.images).argmax(1)
        return [painted(*each).cpu() for each in zip(batch.images, batch.semantic, answers, strict=True)]
