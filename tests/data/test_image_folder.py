import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from poolbench import data
from poolbench.data import image_folder
from poolbench.data.config import ImageFolderConfig
from poolbench.data.store import Contents, Split

LAYOUT = ["train/cat/a.png", "train/cat/b.png", "train/dog/a.png", "test/cat/a.png", "test/dog/a.png"]
FLAT = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(10)]


def picture(file: Path, level: int = 100, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level if mode in ("L", "I;16") else (level, 0, 0)).save(file)


def put(root: Path, files: list[str] = LAYOUT) -> Path:
    for level, file in enumerate(files):
        picture(root / file, level)
    return root


def read(root: Path, **options: Any) -> Contents:
    return image_folder.read(ImageFolderConfig(root=str(root), **options), Path())


def red(split: Split) -> list[int]:
    return split.images[:, 0, 0, 0].tolist()


def test_class_per_folder(tmp_path):
    contents = read(put(tmp_path))
    assert contents.classes == ["cat", "dog"]
    assert contents.train.labels.tolist() == [0, 0, 1]
    assert contents.test.labels.tolist() == [0, 1]
    assert contents.train.images.shape == (3, 3, 4, 6)
    assert (red(contents.train), red(contents.test)) == ([0, 1, 2], [3, 4])


@pytest.mark.parametrize("top", ["", "pictures"])
def test_an_archive_is_read_as_its_folder_is(tmp_path, top):
    put(tmp_path / "root" / top)
    (tmp_path / "root" / ".hidden").write_text("")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "root")
    contents = read(Path(archive))
    assert (red(contents.train), red(contents.test)) == ([0, 1, 2], [3, 4])


def test_without_train_and_test_the_seed_splits_every_class(tmp_path):
    root = put(tmp_path, FLAT)
    contents = read(root, test_share=0.3)
    assert contents.test.labels.tolist() == [0] * 3 + [1] * 3
    assert sorted(red(contents.train) + red(contents.test)) == list(range(20))
    assert red(read(root, test_share=0.3).test) == red(contents.test)
    assert red(read(root, test_share=0.3, seed=1).test) != red(contents.test)


def test_pictures_are_cropped_about_the_centre_and_scaled(tmp_path):
    put(tmp_path, LAYOUT[1:])
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    Image.fromarray(pixels).save(tmp_path / "train/cat/a.png")
    contents = read(tmp_path, size=10)
    assert contents.train.images.shape == (3, 3, 10, 10)
    assert (contents.train.images[0, 0, :, 1:-1] >= 200).all()
    assert (contents.train.images[0, 0] > 180).all()
    assert (contents.train.images[0, 1:] == contents.train.images[0, :1]).all()


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "jpg"), ("L", "bmp"), ("RGBA", "webp"), ("P", "png"), ("1", "gif")]
)
def test_every_mode_becomes_grey_or_colour(tmp_path, mode, suffix):
    put(tmp_path, LAYOUT[1:])
    Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(tmp_path / f"train/cat/a.{suffix}")
    for channels in (1, 3):
        images = read(tmp_path, channels=channels).train.images
        assert images.shape[1] == channels
        assert images[0].min() >= 250


def test_a_picture_is_turned_upright(tmp_path):
    put(tmp_path, LAYOUT[1:])
    image = Image.new("RGB", (4, 6))
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: a quarter turn
    image.save(tmp_path / "train/cat/a.jpg", exif=exif)
    assert read(tmp_path).train.images.shape == (3, 3, 4, 6)


def test_the_store_can_be_written_from_both_parts_of_one_tensor(tmp_path):
    store = data.prepare({"source": "imagefolder", "root": str(put(tmp_path / "root"))}, tmp_path)
    assert torch.equal(store.test.images, read(tmp_path / "root").test.images)
    data.verify(store)
    assert sum(file.stat().st_size for file in store.folder.glob("*.safetensors")) < 5 * 72 + 5 * 8 + 2 * 400


def empty(root):
    (root / "train/cow").mkdir()


def broken(root):
    (root / "train/dog/a.png").write_bytes((root / "train/dog/a.png").read_bytes()[:40])


def no_picture(root):
    (root / "train/dog/a.png").write_text("text")


def deep(root):
    picture(root / "train/dog/a.png", 1000, mode="I;16")


def odd_class(root):
    picture(root / "test/cow/a.png")


def several_sizes(root):
    picture(root / "test/dog/b.png", size=(9, 9))


def stray(root):
    picture(root / "train/a.png")


def train_alone(root):
    shutil.rmtree(root / "test")


def nothing(root):
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty, "a class folder without pictures: train/cow; fill it"),
        (broken, "train/dog/a.png cannot be read"),
        (no_picture, r"train/dog/a.png cannot be read \(no known format\)"),
        (deep, "train/dog/a.png cannot be read .*more than 8 bits"),
        (odd_class, "must have the same classes, but one of them lacks: cow"),
        (several_sizes, r"test/dog/b.png is 9 x 9, train/cat/a.png is 6 x 4: give data.size"),
        (stray, "train/a.png lies outside of any class folder"),
        (train_alone, "has train/ alone: give both"),
        (nothing, "found 0 class folders with pictures"),
    ],
)
def test_a_bad_folder_is_named(tmp_path, spoil, message):
    put(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_class_of_one_cannot_be_split(tmp_path):
    with pytest.raises(ValueError, match="class dog has 1 picture"):
        read(put(tmp_path, ["cat/a.png", "cat/b.png", "dog/a.png"]))


def test_a_missing_root_and_a_broken_archive_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing does not exist"):
        read(tmp_path / "missing")
    (tmp_path / "x.zip").write_bytes(b"PK, but no more")
    with pytest.raises(ValueError, match="must be a folder or a whole"):
        read(tmp_path / "x.zip")
