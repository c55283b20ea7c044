"""What Lightning trains: a classifier, its loss, its optimiser, and the data it sees."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.data import Store, training_split
from poolbench.data.feed import Feed
from poolbench.data.store import Split
from poolbench.training.metrics import metrics

CHECK_EVERY = 50
"""Steps between looks at the loss: looking makes a GPU wait."""


class Diverged(ValueError):
    """The loss stopped being a number."""


class Data(pl.LightningDataModule):
    """Training and validation pictures of a store, as tensors on the device that trains."""

    def __init__(
        self, store: Store, images: int | None, batch_size: int, validation: float, seed: int, shift: int = 0
    ) -> None:
        super().__init__()
        chosen, held = training_split(store, validation, images)
        self.splits = {
            "train": Split(store.train.images[chosen], store.train.labels[chosen]),
            "validation": Split(store.train.images[held], store.train.labels[held]),
        }
        self.batch_size, self.seed, self.shift = batch_size, seed, shift

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        self.splits = {
            name: Split(split.images.to(device), split.labels.to(device)) for name, split in self.splits.items()
        }

    def train_dataloader(self) -> Feed:
        assert self.trainer is not None
        order = epoch_seed(self.seed, self.trainer.current_epoch)
        ranks = (self.trainer.global_rank, self.trainer.world_size)
        return Feed(self.splits["train"], self.batch_size, order, *ranks, self.shift)

    def val_dataloader(self) -> Feed:
        assert self.trainer is not None
        return Feed(
            self.splits["validation"], 4 * self.batch_size, None, self.trainer.global_rank, self.trainer.world_size
        )


class Classifier(pl.LightningModule):
    """Cross-entropy, SGD with Nesterov momentum or AdamW, a one-cycle schedule; metrics once an epoch."""

    def __init__(
        self, network: nn.Module, head: Sequence[nn.Module], classes: int, optimizer: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__()
        self.network, self.optimizer, self.seed = network, optimizer, seed
        self.head = {parameter for layer in head for parameter in layer.parameters()}
        self.validation = metrics(classes)
        self.losses: list[Tensor] = []
        self.outputs: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self) -> None:
        # What an epoch draws depends on the seed and its number alone: a resumed run ends with the same weights.
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch))
        self.losses = []

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self.network(images), labels, label_smoothing=self.optimizer["label_smoothing"])
        self.losses.append(loss.detach())
        if len(self.losses) % CHECK_EVERY == 0:
            self._check_loss()
        return loss

    def _check_loss(self) -> None:
        losses = torch.stack(self.losses[-CHECK_EVERY:]).float()
        if losses.isfinite().all():
            return
        first = len(self.losses) - len(losses) + int(losses.isfinite().logical_not().nonzero()[0])
        step = self.current_epoch * int(self.trainer.num_training_batches) + first
        raise Diverged(
            f"the loss is {losses[~losses.isfinite()][0].item()} at step {step + 1} (epoch {self.current_epoch + 1}), "
            f"learning rate {self.learning_rate(step):.3g}: lower optimizer.lr (now {self.optimizer['lr']})"
        )

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        images, labels = batch
        self.outputs.append((self.network(images).float(), labels))

    def on_validation_epoch_end(self) -> None:
        self._check_loss()
        self.log("train_loss", torch.stack(self.losses).mean(), sync_dist=True)
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], sync_dist=True)
        logits, labels = (torch.cat(parts) for parts in zip(*self.outputs, strict=True))
        self.outputs = []
        self.validation.update(logits, labels)
        self.log("validation_loss", F.cross_entropy(logits, labels), sync_dist=True)
        found = {f"validation_{name}": value for name, value in self.validation.compute().items()}
        self.log_dict(found, sync_dist=True)
        self.validation.reset()

    def configure_optimizers(self) -> Any:
        chosen = self.optimizer
        decay, own = chosen["weight_decay"], chosen["head_weight_decay"]
        rest = [parameter for parameter in self.parameters() if own is None or parameter not in self.head]
        groups = [{"params": rest, "weight_decay": decay}]
        if own is not None:
            head = [parameter for parameter in self.parameters() if parameter in self.head]
            groups.append({"params": head, "weight_decay": own})
        lr, momentum = chosen["lr"], chosen["momentum"]
        optimizer: torch.optim.Optimizer
        if chosen["name"] == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999))
        else:
            optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.learning_rate(step) / chosen["lr"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rate(self, step: int) -> float:
        """One cycle: a linear rise to `lr` over the `warmup` share of all steps, then half a cosine to 0."""
        total = int(self.trainer.estimated_stepping_batches)
        rise = max(self.optimizer["warmup"] * total, 1)
        if step < rise:
            return self.optimizer["lr"] * (step + 1) / (rise + 1)
        return self.optimizer["lr"] * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1))) / 2


def epoch_seed(seed: int, epoch: int) -> int:
    """What orders and draws in an epoch are seeded with."""
    return 1_000_003 * seed + epoch
