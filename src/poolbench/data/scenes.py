"""Scenes: pictures of several sizes, composed of the objects of a classification set on textured clutter.

An object is what its picture has before a plain ground. It is cut out, made larger or smaller, and laid somewhere, in
front of those that came before it; what is left of each is its mask, and the box around that its box.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolbench.data import fashion_mnist, shapes
from poolbench.data.config import FashionMnistConfig, ScenesConfig, ShapesConfig
from poolbench.data.objects import Scenes, Thing, box_of, pack
from poolbench.data.store import Contents, Split

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
DRAWN = 2000
"""Shapes to cut objects from."""
CONTRAST = 24
"""Grey levels by which an object differs from the plain ground of its picture."""
TRIES = 10
LEAST = 30
"""Pixels that an object shows at least."""


def read(config: ScenesConfig, root: Path) -> Contents[Scenes]:
    """Both splits, each of objects from the same split of the set. The same seed composes the same pictures."""
    contents = _source(config, root)
    train, test = (
        pack(_scenes(config, part, count, np.random.default_rng([config.seed, number])), channels=1)
        for number, (part, count) in enumerate(((contents.train, config.train), (contents.test, config.test)))
    )
    return Contents(
        train, test, contents.classes, f"composed from seed {config.seed} of {config.of}: {contents.source}"
    )


def _source(config: ScenesConfig, root: Path) -> Contents[Split]:
    if config.of == "fashion_mnist":
        return fashion_mnist.read(FashionMnistConfig(), root)
    plain = ShapesConfig(train=DRAWN, test=DRAWN, position=0, clutter=0, noise=0, seed=config.seed)
    return shapes.read(plain, root)


def _scenes(
    config: ScenesConfig, part: Split, count: int, random: np.random.Generator
) -> Iterator[tuple[NDArray[np.uint8], list[Thing]]]:
    images, labels = part.images[:, 0].numpy(), part.labels.numpy()
    for _ in range(count):
        height, width = (int(side) for side in random.integers(config.smallest, config.largest + 1, 2))
        picture = _ground(height, width, config.clutter, random)
        for image in images[random.integers(len(images), size=config.fragments)]:
            _scatter(picture, image, random)
        shown: list[tuple[int, Mask]] = []
        for number in random.integers(len(images), size=random.integers(config.fewest, config.most + 1)):
            shown = _lay(picture, shown, images[number], int(labels[number]), config, random)
        things = [Thing(label, box_of(mask), mask) for label, mask in shown]
        yield np.rint(picture.clip(0, 255)).astype(np.uint8)[None], things


def _ground(height: int, width: int, clutter: float, random: np.random.Generator) -> Grey:
    """Smooth noise of three scales about a mean grey."""
    ground = np.full((height, width), random.uniform(40, 130), np.float32)
    for cell, share in ((32, 0.5), (12, 0.3), (4, 0.2)):
        grid = random.uniform(-1, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
        ground += 127 * clutter * share * _resized(grid, height, width)
    return ground


def _scatter(picture: Grey, image: NDArray[np.uint8], random: np.random.Generator) -> None:
    """Lay a piece of an object on the ground, so that its texture alone tells nothing."""
    side = int(random.integers(6, 13))
    top, left = (int(random.integers(8, 20 - side + 1)) for _ in range(2))
    piece = image[top : top + side, left : left + side]
    y, x = (int(random.integers(0, length - side + 1)) for length in picture.shape)
    picture[y : y + side, x : x + side] = piece * random.uniform(0.4, 1)


def _lay(
    picture: Grey,
    shown: list[tuple[int, Mask]],
    image: NDArray[np.uint8],
    label: int,
    config: ScenesConfig,
    random: np.random.Generator,
) -> list[tuple[int, Mask]]:
    """Lay an object into the picture, where a place is found that hides none too much; gives what is shown then."""
    cut, mask = _cut(image)
    factor = random.uniform(config.low, config.high)
    height, width = (
        max(min(round(side * factor), free), 1) for side, free in zip(cut.shape, picture.shape, strict=True)
    )
    cut, cover = _resized(cut, height, width), _resized(mask.astype(np.float32), height, width).clip(0, 1)
    for _ in range(TRIES):
        top, left = (
            int(random.integers(0, free - side + 1)) for free, side in zip(picture.shape, cut.shape, strict=True)
        )
        window = np.s_[top : top + height, left : left + width]
        over = np.zeros(picture.shape, bool)
        over[window] = cover > 0.5
        left_over = [(each, before & ~over) for each, before in shown]
        kept = zip(left_over, shown, strict=True)
        fits = all(now.sum() >= max((1 - config.overlap) * before.sum(), LEAST) for (_, now), (_, before) in kept)
        if fits and over.sum() >= LEAST:
            picture[window] += cover * (cut * random.uniform(0.7, 1) - picture[window])
            return [*left_over, (label, over)]
    return shown


def _cut(image: NDArray[np.uint8]) -> tuple[Grey, Mask]:
    """The object of a picture, cropped to its box, with its mask: what differs from the border, and what that encloses.

    >>> _cut(np.pad(np.full((3, 4), 200, np.uint8), 2))[1].shape
    (3, 4)
    """
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    lit = abs(image.astype(np.int16) - int(np.median(border))) > CONTRAST
    closed = [np.logical_or.accumulate(lit[::step], 0)[::step] for step in (1, -1)]
    closed += [np.logical_or.accumulate(lit[:, ::step], 1)[:, ::step] for step in (1, -1)]
    mask = np.logical_and.reduce(closed)
    left, top, right, bottom = map(int, box_of(mask))
    return image[top:bottom, left:right].astype(np.float32), mask[top:bottom, left:right]


def _resized(image: Grey, height: int, width: int) -> Grey:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
