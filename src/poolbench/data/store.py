"""The prepared form of a data set: a folder of uint8 tensors that opens in milliseconds.

train.safetensors, test.safetensors   images uint8 (N, C, H, W), labels int64 (N,); or the tensors of `Scenes`
info.json                             names, sizes, statistics of the training split, checksum, where it came from
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from poolbench.data.objects import Scenes

SCHEMA = 1
SPLIT_SEED = 0


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, W) and their labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def largest(self) -> tuple[int, int]:
        """Height and width, the same for all."""
        height, width = self.images.shape[2:]
        return height, width

    def take(self, indices: Tensor) -> "Split":
        """A copy of some of the images, in this order."""
        return Split(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> "Split":
        """The same on another device."""
        return Split(self.images.to(device), self.labels.to(device))

    def levels(self) -> Tensor:
        """How often each of the 256 levels occurs in each channel, (C, 256)."""
        return torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in self.images.unbind(1)])


Part = Split | Scenes
"""What a split of a data set is: pictures of one size with one label each, or pictures with objects in them."""
Kind = TypeVar("Kind", Split, Scenes)


@dataclass(frozen=True)
class Contents(Generic[Kind]):
    """What a source yields: both splits, the classes in the order of their labels, and where the bytes came from."""

    train: Kind
    test: Kind
    classes: list[str]
    source: str


@dataclass(frozen=True)
class Store:
    """A prepared data set, opened. The images are memory-mapped: reading them is what loads them."""

    folder: Path
    info: Mapping[str, Any]
    parts: Mapping[str, Part]

    @property
    def train(self) -> Split:
        """The training images of a set that gives each one label."""
        return self._labelled("train")

    @property
    def test(self) -> Split:
        """The test images of a set that gives each one label."""
        return self._labelled("test")

    def _labelled(self, name: str) -> Split:
        part = self.parts[name]
        if not isinstance(part, Split):
            raise ValueError(
                f"{self.name} has pictures of several sizes with objects in them, and not one label each: "
                "choose task=detection or task=segmentation, or another data set"
            )
        return part

    def scenes(self, name: str) -> Scenes:
        """The pictures of a split, train or test, with their objects. Raises ValueError for a set without objects."""
        part = self.parts[name]
        if not isinstance(part, Scenes):
            raise ValueError(
                f"{self.name} has one label a picture and no objects: choose task=classification, or data with objects "
                "(scenes, coco, pets, voc)"
            )
        return part

    @property
    def name(self) -> str:
        return self.info["name"]

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the labels."""
        return self.info["classes"]

    @property
    def mean(self) -> list[float]:
        """Mean of each channel over the training split, where 0 is black and 1 is white."""
        return self.info["mean"]

    @property
    def std(self) -> list[float]:
        """Standard deviation of each channel over the training split, in the units of `mean`."""
        return self.info["std"]

    @property
    def checksum(self) -> str:
        """SHA-256 over every image and label."""
        return self.info["checksum"]


def write(
    folder: Path,
    *,
    name: str,
    classes: list[str],
    train: Part,
    test: Part,
    source: str,
    options: Mapping[str, Any],
) -> Store:
    """Write a store to `folder`, whole or not at all, in place of one that is there.

    `source` says where the images came from, `options` what they were made with. Raises OSError where the disk
    has no room.
    """
    assert type(train) is type(test)
    assert test.channels == train.channels
    if isinstance(train, Split):
        assert test.largest == train.largest
    (height, width), (test_height, test_width) = train.largest, test.largest
    mean, std = _statistics(train.levels())
    info = {
        "schema": SCHEMA,
        "name": name,
        "classes": list(classes),
        "channels": train.channels,
        "height": max(height, test_height),
        "width": max(width, test_width),
        "sizes": {"train": len(train), "test": len(test)},
        "mean": mean,
        "std": std,
        "checksum": _checksum(train, test),
        "source": source,
        "options": dict(options),
    }
    if isinstance(train, Scenes) and isinstance(test, Scenes):
        info["objects"] = {"train": len(train.labels), "test": len(test.labels)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            aside = Path(scratch, "new")
            aside.mkdir()
            for part, split in (("train", train), ("test", test)):
                tensors = {name: tensor.contiguous() for name, tensor in _tensors(split).items()}
                save_file(tensors, aside / f"{part}.safetensors")
            (aside / "info.json").write_text(json.dumps(info, indent=2) + "\n")
            if folder.exists():
                folder.rename(Path(scratch, "old"))
            aside.rename(folder)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"cannot write {folder}: {error}; make room or choose another disk, then prepare again"
        ) from error
    return load(folder)


def load(folder: Path) -> Store:
    """Open a store. Its tensors are mapped, not read; `verify` compares them with the checksum.

    Raises FileNotFoundError where a file is missing, ValueError where the store is of another schema or damaged.
    """
    again = "prepare it again with force"
    for file in ("info.json", "train.safetensors", "test.safetensors"):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder / file} is missing: {again}")
    try:
        info = json.loads((folder / "info.json").read_text())
        schema = info["schema"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder / 'info.json'} is not a store's description: {again}") from error
    if schema != SCHEMA:
        raise ValueError(f"{folder} has schema {schema}, this version reads schema {SCHEMA}: {again}")
    return Store(folder, info, {part: _open(folder / f"{part}.safetensors", info) for part in ("train", "test")})


def _open(file: Path, info: Mapping[str, Any]) -> Part:
    try:
        part = (Scenes if "objects" in info else Split)(**load_file(file))
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"{file} is truncated or altered ({error}): prepare it again with force") from error
    size = info["sizes"][file.stem]
    if isinstance(part, Split):
        expected = (size, info["channels"], info["height"], info["width"])
        if tuple(part.images.shape) != expected or len(part) != size:
            raise ValueError(
                f"{file} holds images of shape {tuple(part.images.shape)}, its info.json says {expected}: "
                "prepare it again with force"
            )
    elif flaw := part.flaw():
        raise ValueError(f"{file} does not fit together ({flaw}): prepare it again with force")
    elif (len(part), len(part.labels)) != (size, info["objects"][file.stem]):
        raise ValueError(
            f"{file} holds {len(part)} pictures with {len(part.labels)} objects, its info.json says "
            f"{size} with {info['objects'][file.stem]}: prepare it again with force"
        )
    return part


def _tensors(part: Part) -> dict[str, Tensor]:
    return {field.name: getattr(part, field.name) for field in fields(part)}


def verify(store: Store) -> None:
    """Read the whole store and raise ValueError unless it is, byte for byte, what was prepared."""
    if _checksum(store.parts["train"], store.parts["test"]) != store.checksum:
        raise ValueError(
            f"{store.folder} is altered: its checksum is not the recorded one; prepare it again with force"
        )


def validation_split(count: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of `count` training images to train on, and of those held out for selection, each sorted.

    The same for the same `seed`, whatever else is drawn; disjoint, and together all. A `fraction` above 0 holds out
    one image at least. Raises ValueError where nothing would be left to train on.

    >>> train, validation = validation_split(10, 0.2, seed=0)
    >>> len(train), len(validation)
    (8, 2)
    """
    held = math.ceil(count * fraction)
    if not 0 <= held < count:
        raise ValueError(
            f"data.validation = {fraction} of {count} images leaves none to train on: give a fraction from 0 to less "
            "than 1, or more images"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[held:].sort().values, order[:held].sort().values


def training_split(store: Store, validation: float, images: int | None = None) -> tuple[Tensor, Tensor]:
    """Indices of the pictures that a run trains on, in an order drawn by lot, and of those held out.

    They are the same for every run, so that runs can be compared on them. `images` takes fewer of the first, and of the
    others at most a quarter as many, or looking at them would cost as much as training: drawn, as a folder of pictures
    is sorted by class. Raises ValueError where there are not as many.
    """
    chosen, held = validation_split(len(store.parts["train"]), validation, SPLIT_SEED)
    if images is not None and images > len(chosen):
        raise ValueError(
            f"budget.images is {images}, but {store.name} has {len(chosen)} pictures to train on after "
            f"data.validation={validation}: ask for fewer, or null for all"
        )
    looked_at = None if images is None else max(images // 4, 1)
    return _drawn(chosen, images), _drawn(held, looked_at)


def _drawn(indices: Tensor, number: int | None) -> Tensor:
    return indices[torch.randperm(len(indices), generator=torch.Generator().manual_seed(SPLIT_SEED))[:number]]


def _statistics(counts: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel in 0..1, exact: from counts of the 256 levels, (C, 256)."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for count in counts:
        share = count / count.sum()
        mean = (share * levels).sum()
        # A channel that never changes would otherwise be divided by 0.
        deviation = (share * (levels - mean).square()).sum().sqrt().clamp(min=1 / 255)
        means.append(mean.item())
        deviations.append(deviation.item())
    return means, deviations


def _checksum(train: Part, test: Part) -> str:
    digest = hashlib.sha256()
    for tensor in (*_tensors(train).values(), *_tensors(test).values()):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
