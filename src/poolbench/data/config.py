"""What can be set about data: one dataclass a source, each a schema of the Hydra group `data`."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from poolbench.naming import unknown

MISSING = "???"  # how OmegaConf spells a value that must be given
SHAPE_NAMES = ("disc", "square", "triangle", "cross", "ring", "star", "bar", "crescent")

FITS = ("crop", "warp", "full")
READING = ("validation", "augment_shift", "fit", "sides")
"""Options of how a run reads a store, whatever is in it."""


def _within(key: str, value: float, low: float, high: float | None = None) -> None:
    if value < low or (high is not None and value > high):
        allowed = f">= {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"data.{key} must be {allowed}, got {value}")


@dataclass
class DataConfig:
    """What every source has: where the images come from, the store's name, and how a run reads it.

    `validation`: the share held out for selection. `augment_shift`: training pictures are moved by up to so many pixels
    either way, drawn anew each epoch; black enters.
    """

    source: str = MISSING
    name: str = MISSING
    validation: float = 0.05
    augment_shift: int = 0

    def check(self) -> None:
        """Raise ValueError, naming the key, for a value out of range."""
        if self.name == MISSING or not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"data.name must be a folder name of letters, digits, '.', '-' and '_', got {self.name!r}")
        if not 0 < self.validation < 1:  # without held-out pictures the test split would be all there is to look at
            raise ValueError(f"data.validation must be above 0 and below 1, got {self.validation}")
        _within("augment_shift", self.augment_shift, 0)

    def recipe(self) -> dict[str, Any]:
        """The options that decide what is in the store: all but those of how it is read."""
        return {key: value for key, value in asdict(self).items() if key not in READING}


@dataclass
class FashionMnistConfig(DataConfig):
    """Fashion-MNIST: 60,000 + 10,000 grey 28x28 images of ten kinds of clothing.

    `size`: brought to size x size; null leaves them as they are.
    """

    source: str = "fashion_mnist"
    name: str = "fashion_mnist"
    size: int | None = None

    def check(self) -> None:
        super().check()
        if self.size is not None:
            _within("size", self.size, 1)


@dataclass
class Cifar10Config(DataConfig):
    """CIFAR-10: 50,000 + 10,000 colour 32x32 images of ten kinds of thing."""

    source: str = "cifar10"
    name: str = "cifar10"


@dataclass
class Cifar100Config(DataConfig):
    """CIFAR-100: 50,000 + 10,000 colour 32x32 images of a hundred kinds of thing."""

    source: str = "cifar100"
    name: str = "cifar100"


@dataclass
class ShapesConfig(DataConfig):
    """Shapes drawn from a seed: no network, any size.

    `classes` takes the first so many of `SHAPE_NAMES`. `position`: the share of the free room that a shape's centre
    moves in (0: always central, 1: anywhere that the shape is whole). `scale`: relative change of size, either way.
    `rotation`: degrees, either way. `clutter`: bars drawn behind a shape. `noise`: standard deviation, 1 is the whole
    grey range.
    """

    source: str = "shapes"
    name: str = "shapes"
    train: int = 4000
    test: int = 1000
    size: int = 28
    channels: int = 1
    classes: int = 6
    position: float = 0.6
    scale: float = 0.2
    rotation: float = 20.0
    clutter: int = 2
    noise: float = 0.05
    seed: int = 0

    def check(self) -> None:
        super().check()
        _within("train", self.train, 1)
        _within("test", self.test, 1)
        _within("size", self.size, 8)
        _within("classes", self.classes, 2, len(SHAPE_NAMES))
        _within("position", self.position, 0, 1)
        _within("scale", self.scale, 0, 0.4)
        _within("rotation", self.rotation, 0, 180)
        _within("clutter", self.clutter, 0)
        _within("noise", self.noise, 0)
        _within("seed", self.seed, 0)
        _check_channels(self.channels)


@dataclass
class SizedConfig(DataConfig):
    """What sources of pictures of several sizes have besides: how one class a picture is read off them.

    `fit`: crop and warp bring every picture to a square, full keeps its proportions; null leaves each as it is, for
    tasks that look at objects. `sides`: the shorter side that they are brought to; several take turns by the epoch.
    """

    fit: str | None = None
    sides: list[int] = field(default_factory=lambda: [48])

    def check(self) -> None:
        super().check()
        if self.fit is not None and self.fit not in FITS:
            raise unknown("data.fit", self.fit, FITS)
        if not self.sides or min(self.sides) < 8:
            raise ValueError(f"data.sides must be whole numbers of at least 8, got {list(self.sides)}")
        if len(self.sides) > 1 and self.fit != "full":
            raise ValueError(
                f"data.sides must be one with data.fit={self.fit}, got {list(self.sides)}: several need full"
            )


@dataclass
class ScenesConfig(SizedConfig):
    """Pictures of several sizes, composed of the objects of a classification set, each with class, box and mask.

    `of`: fashion_mnist or shapes. A picture's height and width are drawn from `smallest` to `largest`, and the
    number of its objects from `fewest` to `most`; `low` and `high` bound the factor by which an object is enlarged.
    `overlap`: the share of an object that the next one may hide. `clutter`: how far the ground varies, 1 is the whole
    grey range; `fragments` pieces of other objects lie about on it.
    """

    source: str = "scenes"
    name: str = "scenes"
    of: str = "fashion_mnist"
    train: int = 2000
    test: int = 500
    smallest: int = 64
    largest: int = 128
    fewest: int = 1
    most: int = 5
    low: float = 0.6
    high: float = 1.6
    overlap: float = 0.3
    clutter: float = 0.5
    fragments: int = 6
    seed: int = 0

    def check(self) -> None:
        super().check()
        if self.of not in ("fashion_mnist", "shapes"):
            raise ValueError(f"data.of must be fashion_mnist or shapes, got {self.of!r}")
        _within("train", self.train, 1)
        _within("test", self.test, 1)
        _within("smallest", self.smallest, 32)
        _within("largest", self.largest, self.smallest)
        _within("fewest", self.fewest, 0)
        _within("most", self.most, max(self.fewest, 1))
        _within("low", self.low, 0.2)
        _within("high", self.high, self.low)
        _within("overlap", self.overlap, 0, 0.9)
        _within("clutter", self.clutter, 0, 1)
        _within("fragments", self.fragments, 0)
        _within("seed", self.seed, 0)


@dataclass
class CocoConfig(SizedConfig):
    """A folder in the COCO format: `root` holds JSON files of annotations, and pictures.

    `train` and `test`: the files of annotations, as paths inside `root`; where they are null, the files are told by
    the words train and val or test in their paths, and a single file is split by `test_share` and `seed`. `limit`: a
    picture whose longer side is more than so many pixels is made smaller; null keeps them all.
    """

    source: str = "coco"
    name: str = "coco"
    root: str = MISSING
    train: str | None = None
    test: str | None = None
    limit: int | None = None
    channels: int = 3
    test_share: float = 0.2
    seed: int = 0

    def check(self) -> None:
        super().check()
        if self.root == MISSING:
            raise ValueError("data.root must be given: the folder with annotations in the COCO format and pictures")
        if (self.train is None) != (self.test is None):
            raise ValueError("data.train and data.test must be given both, or neither for those that are found")
        if self.limit is not None:
            _within("limit", self.limit, 16)
        if not 0 < self.test_share < 1:
            raise ValueError(f"data.test_share must be between 0 and 1, got {self.test_share}")
        _within("seed", self.seed, 0)
        _check_channels(self.channels)


@dataclass
class FetchedScenesConfig(SizedConfig):
    """Published pictures of their own sizes. `limit`: pixels of the longer side; larger ones are made smaller."""

    limit: int = 192

    def check(self) -> None:
        super().check()
        _within("limit", self.limit, 16)


@dataclass
class PetsConfig(FetchedScenesConfig):
    """Oxford-IIIT Pet: 3,680 + 3,669 pictures of an animal of 37 breeds."""

    source: str = "pets"
    name: str = "pets"


@dataclass
class VocConfig(FetchedScenesConfig):
    """VOC 2012: 1,464 + 1,449 pictures with objects of 20 classes."""

    source: str = "voc"
    name: str = "voc"


@dataclass
class ImageFolderConfig(DataConfig):
    """Your own pictures: `root` is a folder or a .zip with one folder per class, under train/ and test/ or not.

    `size`: pictures are scaled to cover size x size and cropped about the centre; null keeps them as they are, which
    needs them all alike. `test_share` and `seed` split the pictures where there is no train/ and test/.
    """

    source: str = "imagefolder"
    name: str = "imagefolder"
    root: str = MISSING
    size: int | None = None
    channels: int = 3
    test_share: float = 0.2
    seed: int = 0

    def check(self) -> None:
        super().check()
        if self.root == MISSING:
            raise ValueError("data.root must be given: the folder or .zip with one folder of pictures per class")
        if self.size is not None:
            _within("size", self.size, 1)
        if not 0 < self.test_share < 1:
            raise ValueError(f"data.test_share must be between 0 and 1, got {self.test_share}")
        _within("seed", self.seed, 0)
        _check_channels(self.channels)


def _check_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise ValueError(f"data.channels must be 1 (grey) or 3 (colour), got {channels}")
