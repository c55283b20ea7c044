"""The prepared form of a data set: a folder of uint8 tensors that opens in milliseconds.

train.safetensors, test.safetensors   images uint8 (N, C, H, W), labels int64 (N,)
info.json                             names, sizes, statistics of the training split, checksum, where it came from
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

SCHEMA = 1
SPLIT_SEED = 0


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, W) and their labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Contents:
    """What a source yields: both splits, the classes in the order of their labels, and where the bytes came from."""

    train: Split
    test: Split
    classes: list[str]
    source: str


@dataclass(frozen=True)
class Store:
    """A prepared data set, opened. The images are memory-mapped: reading them is what loads them."""

    folder: Path
    info: Mapping[str, Any]
    train: Split
    test: Split

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
    train: Split,
    test: Split,
    source: str,
    options: Mapping[str, Any],
) -> Store:
    """Write a store to `folder`, whole or not at all, in place of one that is there.

    `source` says where the images came from, `options` what they were made with. Raises OSError where the disk
    has no room.
    """
    channels, height, width = train.images.shape[1:]
    assert test.images.shape[1:] == train.images.shape[1:]
    assert all(split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64 for split in (train, test))
    mean, std = _statistics(train.images)
    info = {
        "schema": SCHEMA,
        "name": name,
        "classes": list(classes),
        "channels": channels,
        "height": height,
        "width": width,
        "sizes": {"train": len(train), "test": len(test)},
        "mean": mean,
        "std": std,
        "checksum": _checksum(train, test),
        "source": source,
        "options": dict(options),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            aside = Path(scratch, "new")
            aside.mkdir()
            for part, split in (("train", train), ("test", test)):
                tensors = {"images": split.images.contiguous(), "labels": split.labels.contiguous()}
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
    return Store(folder, info, *(_open(folder / f"{part}.safetensors", info) for part in ("train", "test")))


def _open(file: Path, info: Mapping[str, Any]) -> Split:
    try:
        split = Split(**load_file(file))
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"{file} is truncated or altered ({error}): prepare it again with force") from error
    expected = (info["sizes"][file.stem], info["channels"], info["height"], info["width"])
    if tuple(split.images.shape) != expected or len(split) != expected[0]:
        raise ValueError(
            f"{file} holds images of shape {tuple(split.images.shape)}, its info.json says {expected}: "
            "prepare it again with force"
        )
    return split


def verify(store: Store) -> None:
    """Read the whole store and raise ValueError unless it is, byte for byte, what was prepared."""
    if _checksum(store.train, store.test) != store.checksum:
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

    They are the same for every run, so that runs can be compared on them. `images` takes fewer of the first: drawn, as
    a folder of pictures is sorted by class. Raises ValueError where there are not as many.
    """
    chosen, held = validation_split(len(store.train), validation, SPLIT_SEED)
    if images is not None and images > len(chosen):
        raise ValueError(
            f"budget.images is {images}, but {store.name} has {len(chosen)} pictures to train on after "
            f"data.validation={validation}: ask for fewer, or null for all"
        )
    drawn = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(SPLIT_SEED))
    return chosen[drawn[:images]], held


def _statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel in 0..1, exact: from counts of the 256 levels."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256) / images[:, channel].numel()
        mean = (share * levels).sum()
        # A channel that never changes would otherwise be divided by 0.
        deviation = (share * (levels - mean).square()).sum().sqrt().clamp(min=1 / 255)
        means.append(mean.item())
        deviations.append(deviation.item())
    return means, deviations


def _checksum(train: Split, test: Split) -> str:
    digest = hashlib.sha256()
    for tensor in (train.images, train.labels, test.images, test.labels):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
