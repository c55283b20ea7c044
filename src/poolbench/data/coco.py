"""Any data set in the COCO format: JSON files of annotations beside pictures; read, checked, and written.

Source: Lin et al., 2014, Microsoft COCO: Common Objects in Context, https://cocodataset.org/#format-data
"""

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle

from poolbench.data.config import CocoConfig
from poolbench.data.image_folder import decode
from poolbench.data.objects import Scenes, Thing, pack, smaller
from poolbench.data.store import Contents, Store, validation_split
from poolbench.files import write_json

PARTS = {"train": r"train", "test": r"val|test"}
"""Words in the path of a file of annotations that tell its split."""
Json = Mapping[str, Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Annotations:
    """One file, checked: its pictures, those of each picture's annotations that have an area, and the categories."""

    file: Path
    images: Sequence[Json]
    of: Mapping[int, Sequence[Json]]
    categories: Mapping[int, str]
    flat: int
    """How many annotations have no area, and are left out."""


def read(config: CocoConfig, root: Path) -> Contents[Scenes]:
    """Both splits; classes are the categories in the order of their ids.

    A picture without annotations stays, with no objects. An annotation without a segmentation has its box as a mask;
    one whose box has no area is left out. Raises FileNotFoundError where `config.root`, a file of annotations or a
    picture is missing; ValueError that names the file and the annotation for what the format does not allow.
    """
    place = Path(config.root).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"data.root = {place} is no folder: give one with annotations in the COCO format")
    files = _files(place, config)
    parts = {name: _checked(place / file) for name, file in files.items()}
    categories = parts["train"].categories
    if parts["test"].categories != categories:
        raise ValueError(f"{files['train']} and {files['test']} of {place} must have the same categories")
    whole = {name: part.images for name, part in parts.items()}
    if files["train"] == files["test"]:
        images = parts["train"].images
        train, test = validation_split(len(images), config.test_share, config.seed)
        whole = {"train": [images[place] for place in train], "test": [images[place] for place in test]}
    labels = {key: label for label, key in enumerate(sorted(categories))}
    train_scenes, test_scenes = (
        pack(_scenes(place, parts[name], images, labels, config), config.channels) for name, images in whole.items()
    )
    flat = sum({part.file: part.flat for part in parts.values()}.values())
    note = f", {flat} annotations without an area left out" if flat else ""
    return Contents(train_scenes, test_scenes, [categories[key] for key in sorted(categories)], f"{place}{note}")


def _files(place: Path, config: CocoConfig) -> dict[str, str]:
    """The files of annotations of both splits, as paths in the folder; twice the same where there is one."""
    if config.train is not None and config.test is not None:
        return {"train": config.train, "test": config.test}
    found = sorted(file.relative_to(place).as_posix() for file in place.rglob("*.json") if _is_coco(file))
    by_part = {part: [file for file in found if re.search(words, file.lower())] for part, words in PARTS.items()}
    if all(len(files) == 1 for files in by_part.values()):
        return {part: files[0] for part, files in by_part.items()}
    if len(found) == 1:
        return {"train": found[0], "test": found[0]}
    raise ValueError(
        f"{place} has {len(found)} files with images, annotations and categories ({', '.join(found) or 'none'}): "
        "say with data.train and data.test which are those of the splits"
    )


def _is_coco(file: Path) -> bool:
    """Whether a file has the format's three lists."""
    try:
        content = json.loads(file.read_text())
    except ValueError:
        return False
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def _checked(file: Path) -> Annotations:
    """A file of annotations, or the error that says what in it is wrong."""
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{file} is missing: give data.train and data.test as paths in data.root") from error
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error})") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list) or not content[key]:
            raise ValueError(f"{file}: {key!r} must be a list that is not empty")
        _unique(file, key, content[key])
    categories = {each["id"]: each.get("name") for each in content["categories"]}
    for key, name in categories.items():
        _demand(isinstance(name, str), f"{file}: category {key}", "name", "text", name)
    for each in content["images"]:
        where = f"{file}: image {each['id']}"
        _demand(isinstance(each.get("file_name"), str), where, "file_name", "text", each.get("file_name"))
        for side in ("height", "width"):
            _demand(_whole(each.get(side)) and each[side] > 0, where, side, "a whole number above 0", each.get(side))
    sizes = {each["id"]: (each["height"], each["width"]) for each in content["images"]}
    of: dict[int, list[Json]] = {key: [] for key in sizes}
    flat = 0
    for each in content["annotations"]:
        _check_annotation(f"{file}: annotation {each['id']}", each, sizes, categories)
        if min(each["bbox"][2:]) > 0:
            of[each["image_id"]].append(each)
        else:
            flat += 1
    return Annotations(file, content["images"], of, categories, flat)


def _unique(file: Path, key: str, entries: Sequence[Any]) -> None:
    seen: set[int] = set()
    for place, each in enumerate(entries):
        if not isinstance(each, dict) or not _whole(each.get("id")):
            raise ValueError(f"{file}: entry {place + 1} of {key!r} must be an object with a whole number as its id")
        if each["id"] in seen:
            raise ValueError(f"{file}: id {each['id']} occurs twice in {key!r}: give each entry its own")
        seen.add(each["id"])


def _check_annotation(
    where: str, each: Json, sizes: Mapping[Any, tuple[int, int]], categories: Mapping[int, str]
) -> None:
    """Raise ValueError unless an annotation is as the format says."""
    image, category, box = each.get("image_id"), each.get("category_id"), each.get("bbox", ())
    _demand(image in sizes, where, "image_id", "the id of one of 'images'", image)
    _demand(category in categories, where, "category_id", "the id of one of 'categories'", category)
    crowd = each.get("iscrowd", 0)
    _demand(crowd in (0, 1), where, "iscrowd", "0 or 1", crowd)
    numbers = isinstance(box, list) and len(box) == 4 and all(map(_finite, box))
    _demand(numbers and min(box[2:]) >= 0, where, "bbox", "[x, y, width, height], the last two at least 0", box)
    height, width = sizes[image]
    x, y, wide, high = box
    inside = x < width and y < height and x + wide >= 0 and y + high >= 0
    _demand(inside, where, "bbox", f"within its picture of {width} x {height} pixels", box)
    drawn = each.get("segmentation") or []
    if isinstance(drawn, dict):
        size, counts = drawn.get("size"), drawn.get("counts")
        _demand(size == [height, width], where, "segmentation.size", f"[{height}, {width}], its picture's", size)
        known = isinstance(counts, str) or (
            isinstance(counts, list) and all(_whole(run) and run >= 0 for run in counts)
        )
        _demand(known, where, "segmentation.counts", "runs as whole numbers, or their text", type(counts).__name__)
        if isinstance(counts, list):
            _demand(
                sum(counts) == height * width, where, "segmentation.counts", f"{height * width} in sum", sum(counts)
            )
    else:
        fits = isinstance(drawn, list) and all(
            isinstance(ring, list) and len(ring) >= 6 and len(ring) % 2 == 0 and all(map(_finite, ring))
            for ring in drawn
        )
        _demand(fits, where, "segmentation", "polygons of x, y, x, y, ... of three points at least, or runs", drawn)


def _demand(met: object, where: str, key: str, allowed: str, found: object) -> None:
    if not met:
        text = repr(found)
        raise ValueError(f"{where}: {key} must be {allowed}, got {text if len(text) < 80 else text[:77] + '...'}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _scenes(
    place: Path, part: Annotations, images: Sequence[Json], labels: Mapping[int, int], config: CocoConfig
) -> Iterator[tuple[NDArray[np.uint8], list[Thing]]]:
    for image in images:
        file = _picture(place, part.file, image["file_name"])
        height, width = image["height"], image["width"]
        picture = decode(str(file), read_bytes, config.channels, None, place, upright=False)
        if picture.shape[1:] != (height, width):
            raise ValueError(
                f"{part.file}: image {image['id']} is {width} x {height} there, and {file} is "
                f"{picture.shape[2]} x {picture.shape[1]} pixels: correct one of them"
            )
        things = [_thing(f"{part.file}: annotation {each['id']}", each, image, labels) for each in part.of[image["id"]]]
        yield smaller(picture, things, config.limit)


def read_bytes(file: str) -> bytes:
    return Path(file).read_bytes()


def _picture(place: Path, annotations: Path, name: str) -> Path:
    """The picture's file: below the folder, the annotations' own, or one of pictures that is named after them."""
    stem = annotations.stem.removeprefix("instances_")
    folders = (annotations.parent, place, place / stem, place / "images", place / "images" / stem, place / "data")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    tried = ", ".join(dict.fromkeys(map(str, folders)))
    raise FileNotFoundError(f"{annotations}: picture {name} is missing; looked into {tried}")


def _thing(where: str, each: Json, image: Json, labels: Mapping[int, int]) -> Thing:
    height, width = image["height"], image["width"]
    x, y, wide, high = each["bbox"]
    box = (max(x, 0.0), max(y, 0.0), min(x + wide, width), min(y + high, height))
    drawn = each.get("segmentation") or [_ring(box)]
    try:
        runs = rle.merge(rle.frPyObjects(drawn, height, width)) if isinstance(drawn, list) else drawn
        if isinstance(runs["counts"], list):
            runs = rle.frPyObjects(runs, height, width)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # pycocotools' own
            mask = rle.decode(runs).astype(bool)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: segmentation cannot be decoded ({error})") from error
    return Thing(labels[each["category_id"]], box, mask, bool(each.get("iscrowd", 0)))


def _ring(box: tuple[float, float, float, float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def write(store: Store, folder: Path) -> None:
    """Write a store of scenes as a folder in the COCO format: annotations/<split>.json and <split>/<number>.png.

    Masks are written as compressed runs. Raises ValueError for a store without objects, FileExistsError where there is
    such a folder already.
    """
    parts = {name: store.scenes(name) for name in ("train", "test")}
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: give another folder")
    (folder / "annotations").mkdir(parents=True)
    categories = [{"id": number, "name": name} for number, name in enumerate(store.classes, start=1)]
    for name, scenes in parts.items():
        (folder / name).mkdir()
        images: list[Json] = []
        annotations: list[Json] = []
        for index in range(len(scenes)):
            image = scenes.image(index)
            file = f"{index + 1:06d}.png"
            Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(folder / name / file)
            height, width = image.shape[1:]
            images.append({"id": index + 1, "file_name": file, "height": height, "width": width})
            annotations += _annotations(scenes, index, len(annotations))
        content = {"images": images, "annotations": annotations, "categories": categories}
        write_json(folder / "annotations" / f"{name}.json", content)


def _annotations(scenes: Scenes, index: int, before: int) -> Iterator[dict[str, Any]]:
    objects, masks = scenes.objects(index), scenes.object_masks(index)
    for number, (box, label, crowd, mask) in enumerate(
        zip(objects.boxes.tolist(), objects.labels.tolist(), objects.crowd.tolist(), masks, strict=True), before + 1
    ):
        runs = rle.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
        x1, y1, x2, y2 = box
        yield {
            "id": number,
            "image_id": index + 1,
            "category_id": label + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": int(torch.count_nonzero(mask)),
            "iscrowd": int(crowd),
            "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")},
        }
