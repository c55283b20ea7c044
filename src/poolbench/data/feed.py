"""Batches gathered from tensors that live on the training device: no worker processes, nothing per picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.data.objects import IGNORED, Objects, Scenes
from poolbench.data.store import Split

MULTIPLE = 16
"""Of it are the sides of a batch of scenes, so that the common strides divide them."""


@dataclass(frozen=True)
class Pass:
    """The order of one pass over so many pictures, in batches.

    With a `seed` the order is drawn from it and the pass ends with whole batches; without, pictures come in order.
    Of `world` processes that share a pass, the one of this `rank` takes every `world`-th picture.
    """

    pictures: int
    batch_size: int
    seed: int | None = None
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        share = len(range(self.rank, self.pictures, self.world))
        return max(share // self.batch_size, 1) if self.seed is not None else -(-share // self.batch_size)

    def batches(self, generator: torch.Generator) -> Sequence[Tensor]:
        """The pictures' numbers, batch by batch; `generator` is that of the seed."""
        order = torch.arange(self.pictures) if self.seed is None else torch.randperm(self.pictures, generator=generator)
        return order[self.rank :: self.world].split(self.batch_size)[: len(self)]


@dataclass(frozen=True)
class Feed:
    """One pass over `split` in batches of images (B, C, H, W) and labels (B,).

    `seed`, `rank` and `world` as for a `Pass`. With a `shift`, each picture is moved by up to so many pixels either
    way, drawn from the seed too; black enters.
    """

    split: Split
    batch_size: int
    seed: int | None = None
    rank: int = 0
    world: int = 1
    shift: int = 0

    @property
    def order(self) -> Pass:
        return Pass(len(self.split), self.batch_size, self.seed, self.rank, self.world)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.split.images, self.split.labels
        generator = torch.Generator().manual_seed(self.seed or 0)
        batches = self.order.batches(generator)
        corners = torch.randint(2 * self.shift + 1, (len(labels), 2), generator=generator).to(labels.device)
        for batch in batches:
            indices = batch.to(labels.device)
            chosen = images[indices]
            yield shifted(chosen, corners[indices], self.shift) if self.shift else chosen, labels[indices]


@dataclass(frozen=True)
class SceneBatch:
    """Some of the pictures of `scenes`, as `images` uint8 (B, C, H, W): each in the upper left of what all fit into."""

    images: Tensor
    scenes: Scenes
    indices: Sequence[int]

    @property
    def sizes(self) -> Tensor:
        """Height and width of each picture, int64 (B, 2)."""
        return self.scenes.sizes[list(self.indices)]

    @property
    def subjects(self) -> Tensor:
        """The class of each picture's largest object, int64 (B,); -1 where there is none."""
        return self.scenes.subjects[list(self.indices)].to(self.images.device)

    @property
    def objects(self) -> list[Objects]:
        return [self.scenes.objects(index) for index in self.indices]

    @property
    def semantic(self) -> Tensor:
        """The class of each pixel, int64 (B, H, W), as `Scenes.semantic`; IGNORED beyond a picture."""
        height, width = self.images.shape[2:]
        maps = (self.scenes.semantic(index) for index in self.indices)
        return torch.stack(
            [F.pad(each, (0, width - each.shape[1], 0, height - each.shape[0]), value=IGNORED) for each in maps]
        )


def batch_of(scenes: Scenes, indices: Sequence[int], fill: Tensor) -> SceneBatch:
    """Some of the pictures as a batch; what is beyond a picture has the colour `fill` (C,), of 0 to 255."""
    height, width = (-(-int(side) // MULTIPLE) * MULTIPLE for side in scenes.sizes[list(indices)].amax(0))
    images = fill.round().to(scenes.pixels)[:, None, None].repeat(len(indices), 1, height, width)
    for image, index in zip(images, indices, strict=True):
        picture = scenes.image(index)
        image[:, : picture.shape[1], : picture.shape[2]] = picture
    return SceneBatch(images, scenes, indices)


@dataclass(frozen=True)
class SceneFeed:
    """One pass over `scenes`, in batches; `fill` (C,) is the colour beyond a picture; the rest as for a `Pass`."""

    scenes: Scenes
    batch_size: int
    fill: Tensor
    seed: int | None = None
    rank: int = 0
    world: int = 1

    @property
    def order(self) -> Pass:
        return Pass(len(self.scenes), self.batch_size, self.seed, self.rank, self.world)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[SceneBatch]:
        for batch in self.order.batches(torch.Generator().manual_seed(self.seed or 0)):
            yield batch_of(self.scenes, batch.tolist(), self.fill)


@dataclass(frozen=True)
class FittedFeed:
    """One pass over pictures of several shapes, in batches of one shape: images (B, C, H, W) and labels (B,).

    `groups`: for each shape the pictures' numbers (K,) and the pictures (K, C, H, W); `labels` (N,) by number. With a
    `seed` the order of pictures and of batches is drawn from it, and no batch is of one picture alone.
    """

    groups: Sequence[tuple[Tensor, Tensor]]
    labels: Tensor
    batch_size: int
    seed: int | None = None
    rank: int = 0
    world: int = 1

    def _batches(self) -> list[tuple[int, Tensor]]:
        """The group of each batch, and the places in it."""
        generator = torch.Generator().manual_seed(self.seed or 0)
        found = []
        for group, (numbers, _) in enumerate(self.groups):
            order = torch.arange(len(numbers))
            if self.seed is not None:
                order = order[torch.randperm(len(order), generator=generator)]
            found += [(group, places) for places in order.split(self.batch_size)]
        if self.seed is not None:
            several = [batch for batch in found if len(batch[1]) > 1]
            found = [several[place] for place in torch.randperm(len(several), generator=generator).tolist()]
        return found[self.rank :: self.world]

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for group, places in self._batches():
            numbers, images = self.groups[group]
            chosen = places.to(images.device)
            yield images[chosen], self.labels[numbers[chosen]]


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
