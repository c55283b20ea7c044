"""Oxford-IIIT Pet and VOC 2012, as torchvision fetches them, checked against their MD5 and with a mask for each object.

Sources: Parkhi, Vedaldi, Zisserman, Jawahar, 2012, Cats and Dogs, https://www.robots.ox.ac.uk/~vgg/data/pets/;
Everingham et al., 2015, The PASCAL Visual Object Classes Challenge, http://host.robots.ox.ac.uk/pascal/VOC/
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolbench.data.config import PetsConfig, VocConfig
from poolbench.data.image_folder import decode
from poolbench.data.objects import Scenes, Thing, box_of, pack, smaller
from poolbench.data.store import Contents

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
GROUND = 2
"""In a trimap of Oxford-IIIT Pet; 1 is the animal, 3 its outline."""

Scene = tuple[NDArray[np.uint8], list[Thing]]
Loaded = TypeVar("Loaded")


def read_pets(config: PetsConfig, root: Path) -> Contents[Scenes]:
    """Both splits of Oxford-IIIT Pet: one animal a picture, of 37 breeds; its outline belongs to it.

    Raises FileNotFoundError where it is neither in root/raw/pets nor to be had, ValueError for a file that is altered.
    """
    from torchvision.datasets import OxfordIIITPet

    place = root / "raw" / "pets"
    here = (place / "oxford-iiit-pet" / "annotations").is_dir()
    found = [
        _fetched("Oxford-IIIT Pet", place, partial(OxfordIIITPet, place, split, download=not here))
        for split in ("trainval", "test")
    ]
    train, test = (pack(_pets(each._images, each._segs, each._labels, config.limit), 3) for each in found)
    return Contents(train, test, found[0].classes, "torchvision's Oxford-IIIT Pet")


def _pets(images: Sequence[Path], trimaps: Sequence[Path], labels: Sequence[int], limit: int) -> Iterator[Scene]:
    for image, trimap, label in zip(images, trimaps, labels, strict=True):
        mask = _indices(trimap) != GROUND
        yield smaller(_pixels(image), [Thing(label, box_of(mask), mask)] if mask.any() else [], limit)


def read_voc(config: VocConfig, root: Path) -> Contents[Scenes]:
    """The pictures of VOC 2012 that have masks: `train` to train on, `val` to test on; 20 classes.

    The void around objects counts as ground. Raises as `read_pets`, of root/raw/voc.
    """
    from torchvision.datasets import VOCSegmentation

    place = root / "raw" / "voc"
    here = (place / "VOCdevkit" / "VOC2012").is_dir()
    found = [
        _fetched("VOC 2012", place, partial(VOCSegmentation, place, image_set=split, download=fetch))
        for split, fetch in (("train", not here), ("val", False))
    ]
    train, test = (pack(_voc([Path(image) for image in each.images], config.limit), 3) for each in found)
    return Contents(train, test, list(CLASSES), "torchvision's VOC 2012")


def _voc(images: Sequence[Path], limit: int) -> Iterator[Scene]:
    for image in images:
        folder, name = image.parents[1], image.stem
        file = folder / "Annotations" / f"{name}.xml"
        instances = _indices(folder / "SegmentationObject" / f"{name}.png")
        try:
            things = [
                _voc_thing(entry, instances == number)
                for number, entry in enumerate(ElementTree.parse(file).getroot().iterfind("object"), start=1)
            ]
        except (ElementTree.ParseError, ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"{file} is no annotation of VOC ({error}): fetch the data set again") from error
        yield smaller(_pixels(image), things, limit)


def _voc_thing(entry: ElementTree.Element, mask: NDArray[np.bool_]) -> Thing:
    """An object, whose box counts pixels from 1, the last one included."""
    x1, y1, x2, y2 = (float(entry.findtext(f"bndbox/{side}", "none")) for side in ("xmin", "ymin", "xmax", "ymax"))
    return Thing(CLASSES.index(entry.findtext("name", "none")), (x1 - 1, y1 - 1, x2, y2), mask)


def _fetched(title: str, place: Path, load: Callable[[], Loaded]) -> Loaded:
    place.mkdir(parents=True, exist_ok=True)
    try:
        return load()
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise FileNotFoundError(
            f"{title} is nowhere to be had ({reason}): put its archives from another machine where torchvision looks, "
            f"below {place}, and prepare again"
        ) from error


def _pixels(file: Path) -> NDArray[np.uint8]:
    return decode(str(file), lambda name: Path(name).read_bytes(), 3, None, file.parent, upright=False)


def _indices(file: Path) -> NDArray[np.uint8]:
    """The values of a picture with a palette, (H, W)."""
    with Image.open(file) as opened:
        return np.asarray(opened)
