"""Your own pictures: a folder or a .zip with one folder of pictures per class, under train/ and test/ or not."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.progress import Progress
from torch import Tensor

from poolbench.data.config import ImageFolderConfig
from poolbench.data.fetch import PROGRESS
from poolbench.data.store import Contents, Split

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
AT_ONCE = 64  # pictures to a task, so that handing them out costs nothing beside decoding them

Load = Callable[[str], bytes]
Classes = dict[str, list[str]]  # the pictures of each class, as paths inside the folder or archive


def read(config: ImageFolderConfig, root: Path) -> Contents[Split]:
    """Both splits, images uint8 (N, channels, size, size); labels follow the sorted names of the class folders.

    Files that are no pictures by their suffix are left out, and so is what stands beside train/ and test/.
    Raises FileNotFoundError where `config.root` is missing; ValueError for a layout that is not one folder per class,
    for a picture that cannot be read (named), and for pictures of several sizes where `config.size` is null.
    """
    place = Path(config.root).expanduser()
    with _opened(place) as (names, load):
        train, test = _splits(place, names, config)
        classes = sorted(train)
        files = [file for part in (train, test) for name in classes for file in part[name]]
        images = _decode(files, load, config, place)
    labels = [torch.arange(len(classes)).repeat_interleave(_counts(part, classes)) for part in (train, test)]
    count = len(labels[0])
    return Contents(Split(images[:count], labels[0]), Split(images[count:], labels[1]), classes, str(place))


@contextmanager
def _opened(place: Path) -> Iterator[tuple[list[str], Load]]:
    """The paths in a folder or archive, those of folders with a slash at the end, and how to read one."""
    if place.is_dir():
        yield sorted(_walk(place)), lambda name: (place / name).read_bytes()
    elif zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            yield sorted(archive.namelist()), archive.read
    elif place.exists():
        raise ValueError(f"data.root = {place} must be a folder or a whole .zip file")
    else:
        raise FileNotFoundError(f"data.root = {place} does not exist: give a folder or a .zip of pictures")


def _walk(place: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(place, followlinks=True):
        inside = Path(folder).relative_to(place)
        yield from (f"{(inside / name).as_posix()}/" for name in folders)
        yield from ((inside / name).as_posix() for name in files)


def _splits(place: Path, names: list[str], config: ImageFolderConfig) -> tuple[Classes, Classes]:
    names = [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
    top = {name.split("/")[0] for name in names}
    if len(top) == 1 and not top & {"train", "test"}:  # an archive of one folder
        prefix = f"{top.pop()}/"
        top = {name.removeprefix(prefix).split("/")[0] for name in names}
    else:
        prefix = ""
    parts = {"train", "test"} & top
    if len(parts) == 1:
        raise ValueError(
            f"{place} has {parts.pop()}/ alone: give both train/ and test/, or neither for a split by seed"
        )
    if not parts:
        return _divide(place, _classes(place, names, prefix), config)
    train, test = (_classes(place, names, f"{prefix}{part}/") for part in ("train", "test"))
    if odd := sorted(train.keys() ^ test.keys()):
        raise ValueError(
            f"train/ and test/ of {place} must have the same classes, but one of them lacks: {', '.join(odd)}"
        )
    return train, test


def _classes(place: Path, names: list[str], prefix: str) -> Classes:
    """The class folders below `prefix`, and the pictures below each at any depth."""
    classes: Classes = {}
    for name in names:
        below = name.removeprefix(prefix)
        if not name.startswith(prefix) or not below:
            continue
        folder, slash, file = below.partition("/")
        if slash:
            classes.setdefault(folder, [])
        if PurePosixPath(file or folder).suffix.lower() not in SUFFIXES or name.endswith("/"):
            continue
        if not slash:
            raise ValueError(f"{place}: {name} lies outside of any class folder: move it into its class's, or away")
        classes[folder].append(name)
    if empty := [f"{prefix}{folder}" for folder, pictures in classes.items() if not pictures]:
        raise ValueError(f"{place} has a class folder without pictures: {', '.join(empty)}; fill it or take it away")
    if len(classes) < 2:
        raise ValueError(
            f"{place}: found {len(classes)} class folders with pictures in {prefix or 'it'}, need 2 or more; "
            "the layout is <class>/<picture>, or train/<class>/<picture> and test/<class>/<picture>"
        )
    return classes


def _divide(place: Path, classes: Classes, config: ImageFolderConfig) -> tuple[Classes, Classes]:
    """The same share of every class for testing, drawn from the seed; at least one picture on each side."""
    random = torch.Generator().manual_seed(config.seed)
    train: Classes = {}
    test: Classes = {}
    for name, pictures in sorted(classes.items()):
        if len(pictures) < 2:
            raise ValueError(f"{place}: class {name} has 1 picture, too few to train on and test: add more")
        held = min(max(1, round(config.test_share * len(pictures))), len(pictures) - 1)
        order = torch.randperm(len(pictures), generator=random).tolist()
        test[name] = [pictures[index] for index in sorted(order[:held])]
        train[name] = [pictures[index] for index in sorted(order[held:])]
    return train, test


def _counts(part: Classes, classes: list[str]) -> Tensor:
    return torch.tensor([len(part[name]) for name in classes])


def _decode(files: list[str], load: Load, config: ImageFolderConfig, place: Path) -> Tensor:
    """Every picture, uint8 (N, C, H, W), decoded on all cores: Pillow lets go of the interpreter as it decodes."""
    first = decode(files[0], load, config.channels, config.size, place)
    images = np.empty((len(files), *first.shape), np.uint8)

    def fill(start: int) -> int:
        for index, file in enumerate(files[start : start + AT_ONCE], start):
            picture = decode(file, load, config.channels, config.size, place)
            if picture.shape != first.shape:
                (height, width), (other_height, other_width) = picture.shape[1:], first.shape[1:]
                raise ValueError(
                    f"{place}: {file} is {width} x {height}, {files[0]} is {other_width} x {other_height}: "
                    "give data.size to bring them to one size"
                )
            images[index] = picture
        return min(AT_ONCE, len(files) - start)

    with Progress(console=PROGRESS) as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        task = progress.add_task(f"reading {place.name}", total=len(files))
        for done in pool.map(fill, range(0, len(files), AT_ONCE)):
            progress.advance(task, done)
    return torch.from_numpy(images)


def decode(
    file: str, load: Load, channels: int, size: int | None, place: Path, *, upright: bool = True
) -> NDArray[np.uint8]:
    """One picture, uint8 (C, H, W), scaled and cropped to size x size where a size is given.

    `upright`: turned as its camera says. Raises ValueError that names a file that cannot be read.
    """
    mode = "RGB" if channels == 3 else "L"
    try:
        with Image.open(io.BytesIO(load(file))) as opened:
            if size:
                opened.draft(mode, (size, size))  # a large JPEG need not be decoded in full
            image = ImageOps.exif_transpose(opened) if upright else opened
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
            if image.has_transparency_data:
                image = image.convert("RGBA")  # straight to RGB, Pillow warns of palettes with transparency
            image = image.convert(mode)
            if size:
                image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
            pixels = np.asarray(image)
    except Exception as error:  # whatever a decoder raises on broken bytes
        reason = "no known format" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{place}: {file} cannot be read ({reason}): replace it or take it away") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
