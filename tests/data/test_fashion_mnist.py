import gzip
import hashlib
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest

from poolbench.data import fashion_mnist
from poolbench.data.config import FashionMnistConfig
from poolbench.data.fetch import Unavailable
from poolbench.data.store import Contents


def idx(shape: tuple[int, ...], values: bytes) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}i", *shape) + values


CONTENTS = {
    "train-images-idx3-ubyte.gz": idx((3, 2, 2), bytes(range(12))),
    "train-labels-idx1-ubyte.gz": idx((3,), bytes([9, 0, 4])),
    "t10k-images-idx3-ubyte.gz": idx((1, 2, 2), bytes(range(50, 54))),
    "t10k-labels-idx1-ubyte.gz": idx((1,), bytes([7])),
}


def put(folder: Path, files: Iterable[str] = CONTENTS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file).write_bytes(gzip.compress(CONTENTS[file]))


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The raw folder of a machine that has no source, where four tiny files are the right ones."""
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in CONTENTS.items()}
    monkeypatch.setattr(fashion_mnist, "SHA256", digests)
    monkeypatch.setattr(fashion_mnist, "ROOT", tmp_path / "machine")
    monkeypatch.setattr(shutil, "which", lambda _: None)

    def offline(url, file):
        raise Unavailable("no network")

    monkeypatch.setattr(fashion_mnist, "download", offline)
    return tmp_path / "raw" / "fashion_mnist"


def read(raw: Path, size: int | None = None) -> Contents:
    return fashion_mnist.read(FashionMnistConfig(size=size), raw.parent.parent)


def test_another_size_is_of_the_same_pictures(raw):
    put(raw)
    large, same = read(raw, 4), read(raw, 2)
    assert large.train.images.shape == (3, 1, 4, 4)
    assert large.test.images.shape == (1, 1, 4, 4)
    assert large.train.images[0, 0].tolist() == [[0, 0, 1, 1], [0, 1, 1, 2], [2, 2, 2, 2], [2, 2, 3, 3]]
    assert same.train.images.equal(read(raw).train.images)
    assert large.train.labels.equal(same.train.labels)


def test_a_store_from_before_there_were_sizes_is_the_same_recipe():
    assert FashionMnistConfig().recipe()["size"] is None
    with pytest.raises(ValueError, match=r"data.size must be >= 1, got 0"):
        FashionMnistConfig(size=0).check()


def test_raw_files_are_read_and_left_alone(raw):
    put(raw)
    before = {file: (raw / file).read_bytes() for file in CONTENTS}
    contents = read(raw)
    assert contents.train.images.tolist()[1] == [[[4, 5], [6, 7]]]
    assert contents.train.labels.tolist() == [9, 0, 4]
    assert contents.test.images.shape == (1, 1, 2, 2)
    assert contents.test.labels.tolist() == [7]
    assert {file: (raw / file).read_bytes() for file in CONTENTS} == before


def test_the_installed_package_fills_what_is_missing(raw, tmp_path):
    put(raw, list(CONTENTS)[:1])
    put(tmp_path / "machine" / fashion_mnist.INSTALLED)
    assert "installed Debian package" in read(raw).source
    assert {path.name for path in raw.iterdir()} == set(CONTENTS)
    assert "raw folder" in read(raw).source


def test_a_download_is_the_last_resort(raw, monkeypatch):
    def mirror(url, file):
        assert url.endswith(f"/{file.name}")
        file.write_bytes(gzip.compress(CONTENTS[file.name]))

    monkeypatch.setattr(fashion_mnist, "download", mirror)
    assert read(raw).source == "torchvision's mirror"


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"no gzip", lambda content: b""])
def test_a_damaged_raw_file_is_an_error_at_once(raw, tmp_path, damage):
    put(raw)
    put(tmp_path / "machine" / fashion_mnist.INSTALLED)
    file = raw / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"^t10k-labels-idx1-ubyte.gz from .*fashion_mnist is truncated or altered"):
        read(raw)


def test_an_altered_source_is_named_and_leaves_nothing(raw, tmp_path):
    installed = tmp_path / "machine" / fashion_mnist.INSTALLED
    put(installed)
    (installed / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(ValueError, match=r"^train-labels-idx1-ubyte.gz from the installed Debian package"):
        read(raw)
    assert not list(raw.iterdir())


def test_without_a_source_the_error_lists_what_was_tried(raw):
    with pytest.raises(FileNotFoundError) as caught:
        read(raw)
    message = str(caught.value)
    for part in ("by apt-get: this machine has no apt-get", "mirror: no network", "installed", *CONTENTS, str(raw)):
        assert part in message
    assert "\n" not in message
    assert not list(raw.iterdir())
