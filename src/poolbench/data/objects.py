"""Pictures of their own sizes with the objects in them: class, box and mask of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

IGNORED = -1
"""What `Scenes.semantic` gives pixels that no figure may count: those of crowds."""


@dataclass(frozen=True)
class Thing:
    """One object of a picture: its class, box (x1, y1, x2, y2) in pixels, and mask, bool (H, W) as its picture.

    A `crowd` is a region of several objects that are not told apart: it is neither trained on nor missed.
    """

    label: int
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_]
    crowd: bool = False


@dataclass(frozen=True)
class Objects:
    """The objects of one picture: boxes float32 (K, 4) as x1, y1, x2, y2, labels int64 (K,), crowd bool (K,)."""

    boxes: Tensor
    labels: Tensor
    crowd: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Scenes:
    """N pictures of their own sizes and their M objects, each picture's after those of the one before it.

    pixels    uint8 (C, P)      the pictures, row by row, one after another
    sizes     int64 (N, 2)      height and width
    counts    int64 (N,)        how many objects a picture has, none or more
    boxes     float32 (M, 4)    x1, y1, x2, y2 in pixels of the picture
    labels    int64 (M,)        classes
    crowd     bool (M,)         regions of several objects
    windows   int64 (M, 4)      top, left, height and width of the part of the picture that holds the mask
    masks     bool (Q,)         the masks within their windows, row by row, one after another
    """

    pixels: Tensor
    sizes: Tensor
    counts: Tensor
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    windows: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def channels(self) -> int:
        return len(self.pixels)

    @property
    def largest(self) -> tuple[int, int]:
        """The largest height and the largest width."""
        height, width = self.sizes.amax(0).tolist()
        return height, width

    @cached_property
    def _places(self) -> list[list[int]]:
        """Where each picture's pixels, objects and each object's mask begin, and where the last ends."""
        lengths = (self.sizes.prod(1), self.counts, self.windows[:, 2:].prod(1))
        return [[0, *length.cumsum(0).tolist()] for length in lengths]

    def image(self, index: int) -> Tensor:
        """One picture, uint8 (C, H, W)."""
        height, width = self.sizes[index].tolist()
        start, end = self._places[0][index : index + 2]
        return self.pixels[:, start:end].view(self.channels, height, width)

    def objects(self, index: int) -> Objects:
        """The objects of one picture."""
        start, end = self._places[1][index : index + 2]
        return Objects(self.boxes[start:end], self.labels[start:end], self.crowd[start:end])

    def object_masks(self, index: int) -> Tensor:
        """The masks of one picture's objects, bool (K, H, W)."""
        first, last = self._places[1][index : index + 2]
        masks = self.masks.new_zeros(last - first, *self.sizes[index].tolist())
        for place, number in enumerate(range(first, last)):
            top, left, height, width = self.windows[number].tolist()
            start, end = self._places[2][number : number + 2]
            masks[place, top : top + height, left : left + width] = self.masks[start:end].view(height, width)
        return masks

    def semantic(self, index: int) -> Tensor:
        """The class of each pixel of one picture, int64 (H, W): 0 is no object, 1 the first class; crowds are IGNORED.

        Where masks overlap the later object lies in front.
        """
        seen = torch.zeros(*self.sizes[index].tolist(), dtype=torch.int64, device=self.labels.device)
        objects = self.objects(index)
        for mask, label, crowd in zip(self.object_masks(index), objects.labels, objects.crowd, strict=True):
            seen[mask] = torch.where(crowd, IGNORED, label + 1)
        return seen

    @cached_property
    def subjects(self) -> Tensor:
        """The class of each picture's largest object by its box, int64 (N,); -1 where it has none but crowds."""
        width, height = (self.boxes[:, 2:] - self.boxes[:, :2]).unbind(1)
        areas = torch.where(self.crowd, 0, width * height)
        chosen = [
            int(areas[start:end].argmax()) + start if end > start and areas[start:end].max() > 0 else None
            for start, end in zip(self._places[1][:-1], self._places[1][1:], strict=True)
        ]
        return torch.tensor([-1 if place is None else int(self.labels[place]) for place in chosen])

    def take(self, indices: Tensor) -> "Scenes":
        """A copy of some of the pictures, in this order."""
        chosen = indices.tolist()
        places, things, masks = self._places
        objects = [number for index in chosen for number in range(things[index], things[index + 1])]
        pixels = [self.pixels[:, places[index] : places[index + 1]] for index in chosen]
        kept = [self.masks[masks[number] : masks[number + 1]] for number in objects]
        return Scenes(
            pixels=torch.cat(pixels, 1) if pixels else self.pixels[:, :0],
            sizes=self.sizes[chosen],
            counts=self.counts[chosen],
            boxes=self.boxes[objects],
            labels=self.labels[objects],
            crowd=self.crowd[objects],
            windows=self.windows[objects],
            masks=torch.cat(kept) if kept else self.masks[:0],
        )

    def to(self, device: torch.device) -> "Scenes":
        """The same on another device."""
        return Scenes(*(getattr(self, field.name).to(device) for field in fields(self)))

    def levels(self) -> Tensor:
        """How often each of the 256 levels occurs in each channel, (C, 256)."""
        return torch.stack([torch.bincount(channel, minlength=256) for channel in self.pixels])

    def flaw(self) -> str | None:
        """What of the tensors does not fit together; None where all does."""
        lengths = {
            "pixels": (self.pixels.shape[1], int(self.sizes.prod(1).sum())),
            "counts": (len(self.counts), len(self.sizes)),
            "boxes": (len(self.boxes), int(self.counts.sum())),
            "labels": (len(self.labels), len(self.boxes)),
            "crowd": (len(self.crowd), len(self.boxes)),
            "windows": (len(self.windows), len(self.boxes)),
            "masks": (len(self.masks), int(self.windows[:, 2:].prod(1).sum())),
        }
        wrong = (f"{name} of length {has} for {needs}" for name, (has, needs) in lengths.items() if has != needs)
        return next(wrong, None)


def pack(pictures: Iterable[tuple[NDArray[np.uint8], Sequence[Thing]]], channels: int) -> Scenes:
    """Pictures uint8 (C, H, W), each with its objects, as one table.

    >>> mask = np.zeros((4, 6), bool)
    >>> mask[1:3, 2:5] = True
    >>> scenes = pack([(np.zeros((1, 4, 6), np.uint8), [Thing(2, (2, 1, 5, 3), mask)])], channels=1)
    >>> scenes.semantic(0).unique(return_counts=True)[1].tolist()
    [18, 6]
    """
    pixels, sizes, counts = [np.zeros((channels, 0), np.uint8)], [], []
    things: list[Thing] = []
    windows, masks = [], [np.zeros(0, bool)]
    for picture, objects in pictures:
        pixels.append(picture.reshape(channels, -1))
        sizes.append(picture.shape[1:])
        counts.append(len(objects))
        things += objects
        for thing in objects:
            top, left, bottom, right = _hull(thing.mask)
            windows.append((top, left, bottom - top, right - left))
            masks.append(thing.mask[top:bottom, left:right].ravel())
    return Scenes(
        pixels=torch.from_numpy(np.concatenate(pixels, 1)),
        sizes=torch.tensor(sizes, dtype=torch.int64).view(-1, 2),
        counts=torch.tensor(counts, dtype=torch.int64),
        boxes=torch.tensor([thing.box for thing in things], dtype=torch.float32).view(-1, 4),
        labels=torch.tensor([thing.label for thing in things], dtype=torch.int64),
        crowd=torch.tensor([thing.crowd for thing in things], dtype=torch.bool),
        windows=torch.tensor(windows, dtype=torch.int64).view(-1, 4),
        masks=torch.from_numpy(np.concatenate(masks)),
    )


def _hull(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of the smallest window that holds a mask; the last two are the first beyond it."""
    if not mask.any():
        return 0, 0, 0, 0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def box_of(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The box around a mask, x1, y1, x2, y2.

    >>> box_of(np.eye(3, dtype=bool)[:2])
    (0.0, 0.0, 2.0, 2.0)
    """
    top, left, bottom, right = map(float, _hull(mask))
    return left, top, right, bottom


def smaller(
    picture: NDArray[np.uint8], things: Sequence[Thing], limit: int | None
) -> tuple[NDArray[np.uint8], list[Thing]]:
    """A picture (C, H, W) and its objects, made smaller where its longer side is more than `limit` pixels.

    >>> smaller(np.zeros((3, 20, 40), np.uint8), [], 10)[0].shape
    (3, 5, 10)
    """
    longer = max(picture.shape[1:])
    if limit is None or longer <= limit:
        return picture, list(things)
    height, width = (max(round(side * limit / longer), 1) for side in picture.shape[1:])
    channels = [Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC) for each in picture]
    across, down = width / picture.shape[2], height / picture.shape[1]
    resized = [
        Thing(
            thing.label,
            (thing.box[0] * across, thing.box[1] * down, thing.box[2] * across, thing.box[3] * down),
            np.asarray(Image.fromarray(thing.mask).resize((width, height), Image.Resampling.NEAREST)),
            thing.crowd,
        )
        for thing in things
    ]
    return np.stack([np.asarray(channel) for channel in channels]), resized
