"""Pictures of their own sizes, brought to sizes that a network is fed: cut, stretched, or kept in proportion."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.data.config import FITS
from poolbench.data.objects import Scenes
from poolbench.naming import unknown

GRID = 8
"""What the longer side is rounded to, in pixels, so that many pictures have one shape and go in one batch."""


def shape(height: int, width: int, fit: str, side: int) -> tuple[int, int]:
    """The rows and columns that a picture of this height and width is given.

    `crop` and `warp` give a square. `full` keeps proportions, but for rounding, with a shorter side of `side`.

    >>> shape(60, 100, "full", 48), shape(60, 100, "crop", 48)
    ((48, 80), (48, 48))
    """
    if fit not in FITS:
        raise unknown("data.fit", fit, FITS)
    if fit != "full":
        return side, side
    short = min(height, width)
    rows, columns = (
        side if length == short else GRID * round(side * length / short / GRID) for length in (height, width)
    )
    return max(rows, side), max(columns, side)


def fitted(image: Tensor, fit: str, side: int) -> Tensor:
    """One picture uint8 (C, H, W) in the shape that `fit` gives it; `crop` keeps the middle of its longer side.

    >>> fitted(torch.arange(8, dtype=torch.uint8).reshape(1, 2, 4), "crop", 2).tolist()
    [[[1, 2], [5, 6]]]
    """
    rows, columns = shape(image.shape[1], image.shape[2], fit, side)
    if fit == "crop":
        short = min(image.shape[1:])
        top, left = ((length - short) // 2 for length in image.shape[1:])
        image = image[:, top : top + short, left : left + short]
    if image.shape[1:] == (rows, columns):
        return image
    made = F.interpolate(image[None].float(), size=(rows, columns), mode="bilinear", antialias=True)[0]
    return made.round().clamp(0, 255).to(torch.uint8)


def by_shape(scenes: Scenes, fit: str, side: int) -> Mapping[tuple[int, int], tuple[Tensor, Tensor]]:
    """Every picture with an object, fitted: for each shape, the numbers (K,) and the pictures (K, C, H, W)."""
    found: dict[tuple[int, int], list[tuple[int, Tensor]]] = defaultdict(list)
    for index in (scenes.subjects >= 0).nonzero()[:, 0].tolist():
        image = fitted(scenes.image(index), fit, side)
        found[image.shape[1], image.shape[2]].append((index, image))
    return {
        size: (torch.tensor([index for index, _ in members]), torch.stack([image for _, image in members]))
        for size, members in sorted(found.items())
    }


def squares(scenes: Scenes, fit: str, side: int) -> Tensor:
    """Every picture fitted into a square, in order: (N, C, side, side)."""
    return torch.stack([fitted(scenes.image(index), fit, side) for index in range(len(scenes))])


def shown(info: Mapping[str, Any], reading: Mapping[str, Any]) -> dict[str, Any]:
    """A store's description with the height and width of what a run that reads it so shows a network.

    >>> shown({"height": 128, "width": 96}, {"fit": "warp", "sides": [48]})
    {'height': 48, 'width': 48}
    """
    fit = reading.get("fit")
    return dict(info) | ({"height": max(reading["sides"]), "width": max(reading["sides"])} if fit else {})
