import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from poolbench import data
from poolbench.data import coco
from poolbench.data.config import CocoConfig

SCENES = {"source": "scenes", "of": "shapes", "train": 8, "test": 4, "smallest": 40, "largest": 60, "fewest": 0}


def content():
    """A picture with a polygon, a crowd and an object without a mask; an empty one; one with runs."""
    ring = [[2, 2, 8, 2, 8, 5, 2, 5], [2, 8, 6, 8, 6, 10, 2, 10]]
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 12, "width": 16},
            {"id": 8, "file_name": "b.png", "height": 5, "width": 4},
            {"id": 9, "file_name": "c.png", "height": 4, "width": 6},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 30, "bbox": [2, 2, 6, 8], "segmentation": ring, "iscrowd": 0},
            {
                "id": 2, "image_id": 7, "category_id": 5, "bbox": [0, 11, 16, 1], "iscrowd": 1,
                "segmentation": {"size": [12, 16], "counts": [11, 1] * 16},
            },
            {"id": 3, "image_id": 7, "category_id": 5, "bbox": [10.5, 1.0, 9, 4]},
            {"id": 4, "image_id": 9, "category_id": 5, "bbox": [1, 0, 2, 2],
             "segmentation": {"size": [4, 6], "counts": [4, 2, 2, 2, 14]}},
            {"id": 5, "image_id": 9, "category_id": 5, "bbox": [3, 3, 0, 1]},
        ],
        "categories": [{"id": 30, "name": "cat"}, {"id": 5, "name": "dog"}],
    }  # fmt: skip


def folder(place, made, file="annotations/instances_train.json", pictures="images"):
    (place / file).parent.mkdir(parents=True, exist_ok=True)
    (place / file).write_text(json.dumps(made))
    (place / pictures).mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(made["images"]):
        pixels = np.random.default_rng(number).integers(0, 256, (each["height"], each["width"], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / pictures / each["file_name"])
    return place


def read(place, **options):
    options = {"train": "annotations/instances_train.json", "test": "annotations/instances_train.json"} | options
    config = CocoConfig(root=str(place), **options)
    config.check()
    return coco.read(config, Path())


@pytest.fixture
def scenes(tmp_path):
    """All of it, in the order of the file."""
    made = folder(tmp_path, content()), "annotations/instances_train.json"
    part = coco._checked(made[0] / made[1])
    config = CocoConfig(root=str(tmp_path))
    return coco.pack(coco._scenes(tmp_path, part, part.images, {5: 0, 30: 1}, config), 3)


def test_boxes_masks_crowds_and_empty_pictures(scenes):
    assert scenes.counts.tolist() == [3, 0, 1]
    assert scenes.labels.tolist() == [1, 0, 0, 0]
    assert scenes.crowd.tolist() == [False, True, False, False]
    assert scenes.boxes.tolist() == [[2, 2, 8, 10], [0, 11, 16, 12], [10.5, 1, 16, 5], [1, 0, 3, 2]]
    polygon, crowd, box = scenes.object_masks(0)
    expected = torch.zeros(12, 16, dtype=torch.bool)
    expected[2:5, 2:8] = expected[8:10, 2:6] = True
    assert torch.equal(polygon, expected)
    assert crowd[11].all()
    assert not crowd[:11].any()
    assert box[1:5, 11:].all()
    assert box.sum() in (20, 24)
    assert scenes.object_masks(2)[0].nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert scenes.semantic(0)[11].unique().tolist() == [data.IGNORED]


def test_one_file_is_split_by_seed(tmp_path):
    place = folder(tmp_path, content())
    contents = read(place, train=None, test=None, test_share=0.3)
    assert (len(contents.train), len(contents.test)) == (2, 1)
    assert contents.classes == ["dog", "cat"]
    assert contents.source.endswith("1 annotations without an area left out")


def test_the_splits_are_found_by_their_words(tmp_path):
    place = folder(tmp_path, content(), "train/_annotations.coco.json", "train")
    few = content()
    few["images"], few["annotations"] = (
        few["images"][1:2],
        few["annotations"][3:4] and [{"id": 1, "image_id": 8, "category_id": 5, "bbox": [0, 0, 2, 2]}],
    )
    folder(place, few, "valid/_annotations.coco.json", "valid")
    (place / "notes.json").write_text("[]")
    contents = read(place, train=None, test=None)
    assert (len(contents.train), len(contents.test)) == (3, 1)


def test_a_limit_makes_pictures_and_objects_smaller(tmp_path):
    place = folder(tmp_path, content())
    whole, small = (read(place, limit=limit, test_share=0.1).train for limit in (None, 16))
    assert torch.equal(whole.sizes, small.sizes)  # 16 is what the largest has
    part = coco._checked(place / "annotations/instances_train.json")
    picture, things = next(coco._scenes(place, part, part.images, {5: 0, 30: 1}, CocoConfig(root=".", limit=8)))
    assert picture.shape == (3, 6, 8)
    assert things[0].box == (1, 1, 4, 5)
    assert things[0].mask.shape == (6, 8)


def test_what_is_written_is_read_back(tmp_path):
    store = data.prepare(SCENES, tmp_path / "data")
    coco.write(store, tmp_path / "out")
    options = {"source": "coco", "root": str(tmp_path / "out"), "channels": 1}
    again = data.prepare(options, tmp_path / "data")
    for part in ("train", "test"):
        for key, tensor in vars(store.scenes(part)).items():
            if isinstance(tensor, torch.Tensor):
                assert torch.equal(tensor, getattr(again.scenes(part), key)), key
    with pytest.raises(FileExistsError, match="out is there already"):
        coco.write(store, tmp_path / "out")


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(made):
        entry = made
        for key in path:
            entry = entry[key]
        entry[last] = value

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put("annotations", []), "'annotations' must be a list that is not empty"),
        (put("annotations", 0, "id", "1"), "entry 1 of 'annotations' must be an object with a whole number as its id"),
        (put("annotations", 1, "id", 1), "id 1 occurs twice in 'annotations'"),
        (put("annotations", 0, "image_id", 99), "annotation 1: image_id must be the id of one of 'images', got 99"),
        (put("annotations", 0, "category_id", 1), "annotation 1: category_id must be the id of one of 'categories'"),
        (put("annotations", 0, "iscrowd", 2), "annotation 1: iscrowd must be 0 or 1, got 2"),
        (put("annotations", 2, "bbox", [1, 2, 3]), r"annotation 3: bbox must be \[x, y, width, height\]"),
        (put("annotations", 2, "bbox", [1, 2, float("nan"), 3]), "annotation 3: bbox must be"),
        (put("annotations", 2, "bbox", [1, 2, -3, 3]), "annotation 3: bbox must be .*the last two at least 0"),
        (put("annotations", 2, "bbox", [17, 2, 3, 3]), "annotation 3: bbox must be within its picture of 16 x 12"),
        (put("annotations", 0, "segmentation", [[1, 2, 3, 4]]), "annotation 1: segmentation must be polygons"),
        (put("annotations", 1, "segmentation", "size", [16, 12]), "annotation 2: segmentation.size must be"),
        (put("annotations", 3, "segmentation", "counts", [3]), "annotation 4: segmentation.counts must be 24 in sum"),
        (put("annotations", 3, "segmentation", "counts", 3), "annotation 4: segmentation.counts must be runs"),
        (put("images", 0, "width", 0), "image 7: width must be a whole number above 0, got 0"),
        (put("images", 0, "file_name", None), "image 7: file_name must be text, got None"),
        (put("categories", 0, "name", 3), "category 30: name must be text, got 3"),
    ],
)  # fmt: skip
def test_what_the_format_does_not_allow_is_named(tmp_path, spoil, message):
    place = folder(tmp_path, content())
    made = content()
    spoil(made)
    (place / "annotations/instances_train.json").write_text(json.dumps(made))
    with pytest.raises(ValueError, match=message) as caught:
        read(place)
    assert "instances_train.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_other_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has 0 files with images, annotations and categories \(none\)"):
        read(tmp_path, train=None, test=None)
    with pytest.raises(FileNotFoundError, match=r"instances_train.json is missing: give data.train"):
        read(tmp_path)
    place = folder(tmp_path, content())
    (place / "images" / "b.png").rename(place / "images" / "d.png")
    with pytest.raises(FileNotFoundError, match=r"picture b.png is missing; looked into"):
        read(place)
    Image.new("RGB", (9, 9)).save(place / "images" / "b.png")
    with pytest.raises(ValueError, match=r"image 8 is 4 x 5 there, and .*b.png is 9 x 9 pixels"):
        read(place)
