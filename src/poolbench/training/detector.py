"""The task `detection`: the class of regions, and the box of what is in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.data import Scenes, Store
from poolbench.data.feed import SceneBatch, batch_of
from poolbench.data.proposals import chosen, decode, encode, match, numbered, propose
from poolbench.data.store import Part
from poolbench.evaluation.detection import drawn, find, proposed
from poolbench.training.module import Task, epoch_seed

GROUND_SEED = 0
"""Held-out pictures have the same proposals in every run."""

SHOWN = 8
"""Pictures to look at."""


class Detector(Task):
    """Cross-entropy of each proposal's class, and a smooth distance of the offsets of those that are of an object."""

    watched = "top1"

    def __init__(
        self, network: nn.Module, head: Sequence[nn.Module], store: Store, settings: Mapping[str, Any]
    ) -> None:
        super().__init__(network, head, store, settings)
        self.classes, self.fill = store.classes, 255 * torch.tensor(store.mean)
        self.proposals = settings["task"]["proposals"]
        self.random = torch.Generator()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.random.manual_seed(epoch_seed(self.seed, self.current_epoch))

    def on_validation_epoch_start(self) -> None:
        self.random.manual_seed(GROUND_SEED)

    def loss(self, batch: SceneBatch) -> Tensor:
        boxes = self._proposed(batch)
        labels, true = matched(batch, boxes)
        scores, offsets = self.network(batch.images, boxes)
        classes, distance = parts(
            scores, offsets, labels, encode(boxes[:, 1:], true), self.optimizer["label_smoothing"]
        )
        return classes + distance

    def answers(self, batch: SceneBatch) -> tuple[Tensor, ...]:
        boxes = self._proposed(batch)
        labels, true = matched(batch, boxes)
        scores, offsets = self.network(batch.images, boxes)
        return scores.float(), offsets.float(), labels, boxes[:, 1:], true

    def figures(self, *answers: Tensor) -> dict[str, Tensor]:
        scores, offsets, labels, boxes, true = answers
        classes, distance = parts(scores, offsets, labels, encode(boxes, true), 0.0)
        own = labels > 0
        found = decode(boxes[own], chosen(offsets[own], labels[own]))
        return {
            "loss": classes + distance,
            "top1": (scores.argmax(1) == labels)[labels >= 0].float().mean(),
            "box_error": (found - true[own]).abs().mean(),
        }

    def pictures(self, held: Part) -> list[Tensor]:
        assert isinstance(held, Scenes)
        batch = batch_of(held, range(min(SHOWN, len(held))), self.fill)
        found = find(self.network, batch, proposed(batch, self.proposals))
        return [
            drawn(image, each, true, self.classes)
            for image, each, true in zip(batch.images, found, batch.objects, strict=True)
        ]

    def _proposed(self, batch: SceneBatch) -> Tensor:
        """Proposals of each picture (K, 5): its number in the batch, then its box."""
        return numbered(
            [
                propose(objects, size, self.proposals, self.random).to(batch.images.device)
                for objects, size in zip(batch.objects, batch.sizes, strict=True)
            ]
        )


def matched(batch: SceneBatch, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """As `proposals.match`, of all boxes (K, 5) of a batch."""
    found = [match(boxes[boxes[:, 0] == number, 1:], objects) for number, objects in enumerate(batch.objects)]
    labels, true = (torch.cat(each) for each in zip(*found, strict=True))
    return labels, true


def parts(scores: Tensor, offsets: Tensor, labels: Tensor, wanted: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Both parts of Fast R-CNN's loss: of the classes, and of the offsets, each as a mean over all that count."""
    counted, own = labels >= 0, labels > 0
    classes = F.cross_entropy(scores[counted].float(), labels[counted], label_smoothing=smoothing)
    distance = F.smooth_l1_loss(chosen(offsets[own].float(), labels[own]), wanted[own], reduction="sum")
    return classes, distance / counted.sum().clamp(min=1)
