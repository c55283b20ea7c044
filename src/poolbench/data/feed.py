"""Batches gathered from tensors that live on the training device: no worker processes, nothing per picture."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.data.store import Split


@dataclass(frozen=True)
class Feed:
    """One pass over `split` in batches of images (B, C, H, W) and labels (B,).

    With a `seed` the order is drawn from it and the pass ends with whole batches; without, pictures come in order.
    Of `world` processes that share a pass, the one of this `rank` takes every `world`-th picture. With a `shift`, each
    picture is moved by up to so many pixels either way, drawn from the seed too; black enters.
    """

    split: Split
    batch_size: int
    seed: int | None = None
    rank: int = 0
    world: int = 1
    shift: int = 0

    def __len__(self) -> int:
        share = len(range(self.rank, len(self.split), self.world))
        return max(share // self.batch_size, 1) if self.seed is not None else -(-share // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.split.images, self.split.labels
        generator = torch.Generator().manual_seed(self.seed or 0)
        order = torch.arange(len(labels)) if self.seed is None else torch.randperm(len(labels), generator=generator)
        corners = torch.randint(2 * self.shift + 1, (len(labels), 2), generator=generator).to(labels.device)
        mine = order[self.rank :: self.world].to(labels.device)
        for indices in mine.split(self.batch_size)[: len(self)]:
            chosen = images[indices]
            yield shifted(chosen, corners[indices], self.shift) if self.shift else chosen, labels[indices]


def shifted(images: Tensor, corners: Tensor, reach: int) -> Tensor:
    """Windows of the size of `images` (N, C, H, W), cut at `corners` (N, 2) from them with `reach` black pixels around.

    >>> shifted(torch.tensor([[[[1, 2, 3]]]]), torch.tensor([[1, 0]]), 1).flatten().tolist()
    [0, 1, 2]
    """
    padded = F.pad(images, [reach] * 4)
    count, channels, rows, columns = (torch.arange(size, device=images.device) for size in images.shape)
    top, left = corners[:, :, None].unbind(1)
    return padded[
        count[:, None, None, None],
        channels[:, None, None],
        (top + rows)[:, None, :, None],
        (left + columns)[:, None, None, :],
    ]
