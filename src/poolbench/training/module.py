"""What every task trains with: the optimiser, its schedule, a watch on the loss, figures once an epoch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from poolbench.data import Store
from poolbench.data.store import Part

CHECK_EVERY = 50
"""Steps between looks at the loss: looking makes a GPU wait."""


class Diverged(ValueError):
    """The loss stopped being a number."""


class Task(pl.LightningModule, ABC):
    """SGD with Nesterov momentum or AdamW, a one-cycle schedule. A task says its loss and its validation figures."""

    watched: ClassVar[str]
    """The validation figure that the terminal shows."""

    def __init__(
        self, network: nn.Module, head: Sequence[nn.Module], store: Store, settings: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.network, self.optimizer, self.seed = network, settings["optimizer"], settings["seed"]
        self.head = {parameter for layer in head for parameter in layer.parameters()}
        self.losses: list[Tensor] = []
        self.outputs: list[tuple[Tensor, ...]] = []

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """What a step makes smaller."""

    @abstractmethod
    def answers(self, batch: Any) -> tuple[Tensor, ...]:
        """What `figures` needs of a validation batch: tensors whose first axis can be put together."""

    @abstractmethod
    def figures(self, *answers: Tensor) -> dict[str, Tensor]:
        """The loss and other figures of the whole validation pass, from all its answers."""

    def pictures(self, held: Part) -> list[Tensor]:
        """Some held-out pictures with what the network says of them, uint8 (3, H, W)."""
        return []

    def on_train_epoch_start(self) -> None:
        # What an epoch draws depends on the seed and its number alone: a resumed run ends with the same weights.
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch))
        self.losses = []

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = self.loss(batch)
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

    def validation_step(self, batch: Any, index: int) -> None:
        self.outputs.append(self.answers(batch))

    def on_validation_epoch_end(self) -> None:
        self._check_loss()
        self.log("train_loss", torch.stack(self.losses).mean(), sync_dist=True)
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], sync_dist=True)
        found = self.figures(*(torch.cat(parts) for parts in zip(*self.outputs, strict=True)))
        self.outputs = []
        self.log_dict({f"validation_{name}": value for name, value in found.items()}, sync_dist=True)

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
