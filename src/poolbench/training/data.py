"""The pictures of a run: which of a store's it trains on, which are held out, and how they come in batches."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor

from poolbench.data import Scenes, Store, training_split
from poolbench.data.feed import Feed, FittedFeed, SceneFeed
from poolbench.data.fit import by_shape
from poolbench.data.store import Part
from poolbench.training.module import epoch_seed


class Data(pl.LightningDataModule):
    """Training and validation pictures of a store, as tensors on the device that trains.

    With a `fit`, each picture of a set with objects comes with the class of its largest, in the size that `fit` gives
    it; the `sides` take turns by the epoch, and what is held out comes in the largest.
    """

    def __init__(
        self,
        store: Store,
        images: int | None,
        batch_size: int,
        validation: float,
        seed: int,
        shift: int = 0,
        fit: str | None = None,
        sides: Sequence[int] = (),
    ) -> None:
        super().__init__()
        whole = store.parts["train"]
        chosen, held = training_split(store, validation, images)
        if shift and isinstance(whole, Scenes):
            raise ValueError(f"data.augment_shift moves pictures with one label each: {store.name} takes 0 alone")
        self.splits: dict[str, Part] = {"train": whole.take(chosen), "validation": whole.take(held)}
        self.batch_size, self.seed, self.shift = batch_size, seed, shift
        self.fit, self.sides = fit, sides
        self._fitted: dict[tuple[str, int], list[tuple[Tensor, Tensor]]] = {}
        self.fill = 255 * torch.tensor(store.mean)

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        self.splits = {name: split.to(device) for name, split in self.splits.items()}

    def transfer_batch_to_device(self, batch: object, device: torch.device, dataloader_idx: int) -> object:
        return batch  # what it is gathered from is there already

    def train_dataloader(self) -> Feed | SceneFeed | FittedFeed:
        assert self.trainer is not None
        return self._feed("train", self.batch_size, epoch_seed(self.seed, self.trainer.current_epoch), self.shift)

    def val_dataloader(self) -> Feed | SceneFeed | FittedFeed:
        return self._feed("validation", 4 * self.batch_size, None, 0)

    def _feed(self, name: str, batch_size: int, order: int | None, shift: int) -> Feed | SceneFeed | FittedFeed:
        assert self.trainer is not None
        split, ranks = self.splits[name], (self.trainer.global_rank, self.trainer.world_size)
        if isinstance(split, Scenes) and self.fit is not None:
            turn = self.trainer.current_epoch % len(self.sides)
            side = max(self.sides) if order is None else self.sides[turn]
            return FittedFeed(self._fit(name, split, side), split.subjects, batch_size, order, *ranks)
        if isinstance(split, Scenes):
            return SceneFeed(split, batch_size, self.fill, order, *ranks)
        return Feed(split, batch_size, order, *ranks, shift)

    def _fit(self, name: str, split: Scenes, side: int) -> list[tuple[Tensor, Tensor]]:
        """The pictures of a split in groups of one shape, made once."""
        assert self.fit is not None
        if (name, side) not in self._fitted:
            self._fitted[name, side] = list(by_shape(split, self.fit, side).values())
        return self._fitted[name, side]
