"""Batches gathered from tensors that live on the training device: no worker processes, nothing per picture."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from poolbench.data.store import Split


@dataclass(frozen=True)
class Feed:
    """One pass over `split` in batches of images (B, C, H, W) and labels (B,).

    With a `seed` the order is drawn from it and the pass ends with whole batches; without, pictures come in order.
    Of `world` processes that share a pass, the one of this `rank` takes every `world`-th picture.
    """

    split: Split
    batch_size: int
    seed: int | None = None
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        share = len(range(self.rank, len(self.split), self.world))
        return max(share // self.batch_size, 1) if self.seed is not None else -(-share // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.split.labels.device
        if self.seed is None:
            order = torch.arange(len(self.split))
        else:
            order = torch.randperm(len(self.split), generator=torch.Generator().manual_seed(self.seed))
        mine = order[self.rank :: self.world].to(device)
        for indices in mine.split(self.batch_size)[: len(self)]:
            yield self.split.images[indices], self.split.labels[indices]
