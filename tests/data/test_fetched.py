import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import OxfordIIITPet, voc

from poolbench import data

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def picture(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


def archive(folder: Path, file: Path) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz" if file.suffix == ".gz" else "w") as made:
        made.add(folder, folder.name)
    return hashlib.md5(file.read_bytes()).hexdigest()


@pytest.fixture
def voc_root(tmp_path, monkeypatch):
    """A folder with a fabricated archive of VOC: a dog and a person to train on, nothing to test on."""
    base = tmp_path / "made" / "VOCdevkit" / "VOC2012"
    for number, split in enumerate(("train", "val")):
        name = f"2012_{number:06d}"
        picture(base / "JPEGImages" / f"{name}.jpg", number)
        instances = np.zeros((20, 30), np.uint8)
        if split == "train":
            instances[2:10, 3:13], instances[5:20, 15:25] = 1, 2
            instances[10, 3:13] = 255
        for folder in ("SegmentationClass", "SegmentationObject"):
            (base / folder).mkdir(exist_ok=True)
            Image.fromarray(instances).save(base / folder / f"{name}.png")
        lists = base / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text(f"{name}\n")
        objects = OBJECT.format("dog", 4, 3, 13, 10) + OBJECT.format("person", 16, 6, 25, 20)
        (base / "Annotations").mkdir(exist_ok=True)
        file = base / "Annotations" / f"{name}.xml"
        file.write_text(f"<annotation>{objects if split == 'train' else ''}</annotation>")
    raw = tmp_path / "data" / "raw" / "voc"
    known = voc.DATASET_YEAR_DICT["2012"]
    md5 = archive(base.parent, raw / known["filename"])
    monkeypatch.setitem(voc.DATASET_YEAR_DICT, "2012", known | {"md5": md5, "url": "http://127.0.0.1:9/voc.tar"})
    return tmp_path / "data"


def test_voc_comes_from_its_archive_with_a_mask_for_each_object(voc_root):
    store = data.prepare({"source": "voc"}, voc_root)
    train = store.scenes("train")
    assert [store.classes[label] for label in train.labels] == ["dog", "person"]
    assert train.boxes.tolist() == [[3, 2, 13, 10], [15, 5, 25, 20]]
    dog, person = train.object_masks(0)
    assert dog[2:10, 3:13].all()
    assert (dog.sum(), person.sum()) == (80, 150)
    assert len(store.scenes("test").labels) == 0
    small = data.prepare({"source": "voc", "name": "small", "limit": 16}, voc_root).scenes("train")
    assert small.sizes.tolist() == [[11, 16]]


def test_an_altered_archive_is_not_read(voc_root):
    (file,) = (voc_root / "raw" / "voc").glob("*.tar")
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(FileNotFoundError, match=r"VOC 2012 is nowhere to be had .*put its archives"):
        data.prepare({"source": "voc"}, voc_root)


def test_an_annotation_that_is_broken_is_named(voc_root):
    data.prepare({"source": "voc"}, voc_root)
    (file,) = (voc_root / "raw" / "voc").rglob("2012_000000.xml")
    file.write_text(f"<annotation>{OBJECT.format('dragon', 4, 3, 13, 10)}</annotation>")
    with pytest.raises(ValueError, match=r"2012_000000.xml is no annotation of VOC \(.*\): fetch the data set again"):
        data.prepare({"source": "voc"}, voc_root, force=True)


def test_pets_come_from_their_archives_with_their_outline(tmp_path, monkeypatch):
    made, raw = tmp_path / "made", tmp_path / "data" / "raw" / "pets" / "oxford-iiit-pet"
    trimap = np.full((20, 30), 2, np.uint8)
    trimap[4:12, 6:20], trimap[6:10, 8:18] = 3, 1
    for split, animal in (("trainval", "Abyssinian_1"), ("test", "Abyssinian_2")):
        picture(made / "images" / f"{animal}.jpg", 0)
        (made / "annotations" / "trimaps").mkdir(parents=True, exist_ok=True)
        Image.fromarray(trimap).save(made / "annotations" / "trimaps" / f"{animal}.png")
        (made / "annotations" / f"{split}.txt").write_text(f"{animal} 1 1 1\n")
    resources = [
        (f"http://127.0.0.1:9/{name}.tar.gz", archive(made / name, raw / f"{name}.tar.gz"))
        for name in ("images", "annotations")
    ]
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", resources)
    store = data.prepare({"source": "pets"}, tmp_path / "data")
    test = store.scenes("test")
    assert store.classes == ["Abyssinian"]
    assert test.boxes.tolist() == [[6, 4, 20, 12]]
    assert test.object_masks(0).sum() == 8 * 14
