"""CIFAR-10 and CIFAR-100, from the archives of their binary version: no pickle is read.

Source: Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny Images,
https://www.cs.toronto.edu/~kriz/cifar.html
"""

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from poolbench.data.config import Cifar10Config, Cifar100Config
from poolbench.data.fetch import Unavailable, download, sha256
from poolbench.data.store import Contents, Split

URL = "https://www.cs.toronto.edu/~kriz/"
SIDE = 32


@dataclass(frozen=True)
class Archive:
    """An archive's name and checksum, and where in it the pictures and the names of the classes are.

    A record is `label_bytes` labels, of which the last is the fine one, and then 3 x 32 x 32 values.
    """

    file: str
    sha256: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label_bytes: int


ARCHIVES = {
    "cifar10": Archive(
        file="cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test=("test_batch.bin",),
        names="batches.meta.txt",
        label_bytes=1,
    ),
    "cifar100": Archive(
        file="cifar-100-binary.tar.gz",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        folder="cifar-100-binary",
        train=("train.bin",),
        test=("test.bin",),
        names="fine_label_names.txt",
        label_bytes=2,
    ),
}


def read(config: Cifar10Config | Cifar100Config, root: Path) -> Contents[Split]:
    """Both splits, images uint8 (50000, 3, 32, 32) and (10000, 3, 32, 32); the archive stays in root/raw.

    Raises ValueError where the archive fails its checksum, and FileNotFoundError where it cannot be downloaded.
    """
    archive = ARCHIVES[config.source]
    raw = root / "raw" / config.source / archive.file
    if raw.exists():
        _check(raw, archive, str(raw.parent))
    else:
        _fetch(raw, archive)
    with tarfile.open(raw) as tar:
        contents = {
            member.name.removeprefix(f"{archive.folder}/"): stream.read()
            for member in tar
            if (stream := tar.extractfile(member)) is not None
        }
    train, test = (
        _split(b"".join(contents[part] for part in parts), archive.label_bytes)
        for parts in (archive.train, archive.test)
    )
    return Contents(train, test, classes=contents[archive.names].decode().split(), source=URL + archive.file)


def _fetch(raw: Path, archive: Archive) -> None:
    raw.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=raw.parent, prefix=".fetch-") as scratch:
        fetched = Path(scratch, archive.file)
        try:
            download(URL + archive.file, fetched)
        except Unavailable as error:
            raise FileNotFoundError(
                f"{archive.file} is not in {raw.parent} and cannot be downloaded ({error}); "
                "put it there from another machine and prepare again"
            ) from error
        _check(fetched, archive, URL)
        fetched.replace(raw)


def _check(file: Path, archive: Archive, source: str) -> None:
    if sha256(file) != archive.sha256:
        raise ValueError(
            f"{archive.file} from {source} is truncated or altered: its SHA-256 is not {archive.sha256}; "
            "replace it or take it away, then prepare again"
        )


def _split(records: bytes, label_bytes: int) -> Split:
    table = np.frombuffer(records, np.uint8).reshape(-1, label_bytes + 3 * SIDE * SIDE)
    images = torch.from_numpy(table[:, label_bytes:].reshape(-1, 3, SIDE, SIDE).copy())
    return Split(images, torch.from_numpy(table[:, label_bytes - 1].astype(np.int64)))
