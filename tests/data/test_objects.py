import numpy as np
import pytest
import torch

from poolbench.data import store
from poolbench.data.objects import IGNORED, Thing, box_of, pack


def picture(height, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def mask(height, width, rows, columns):
    made = np.zeros((height, width), bool)
    made[slice(*rows), slice(*columns)] = True
    return made


@pytest.fixture
def pictures():
    """Two objects and a crowd; none; one."""
    behind, front, crowd = mask(8, 6, (1, 5), (0, 4)), mask(8, 6, (3, 7), (2, 6)), mask(8, 6, (7, 8), (0, 2))
    things = [
        Thing(1, box_of(behind), behind),
        Thing(0, box_of(front), front),
        Thing(0, box_of(crowd), crowd, crowd=True),
    ]
    ring = mask(5, 9, (0, 5), (1, 8)) & ~mask(5, 9, (2, 3), (3, 5))
    return [
        (picture(8, 6, 0), things),
        (picture(4, 7, 1), []),
        (picture(5, 9, 2), [Thing(1, (1.25, 0, 8.0, 5.0), ring)]),
    ]


@pytest.fixture
def scenes(pictures):
    return pack(pictures, channels=3)


def test_what_is_packed_is_found_again(pictures, scenes):
    assert len(scenes) == 3
    for index, (image, things) in enumerate(pictures):
        assert torch.equal(scenes.image(index), torch.from_numpy(image))
        objects = scenes.objects(index)
        assert objects.labels.tolist() == [thing.label for thing in things]
        assert objects.boxes.tolist() == [list(thing.box) for thing in things]
        assert objects.crowd.tolist() == [thing.crowd for thing in things]
        for found, thing in zip(scenes.object_masks(index), things, strict=True):
            assert np.array_equal(found.numpy(), thing.mask)
    assert scenes.largest == (8, 9)


def test_the_later_object_lies_in_front_and_crowds_are_ignored(scenes):
    seen = scenes.semantic(0)
    assert seen[1, 0] == 2
    assert seen[3, 2] == seen[6, 5] == 1
    assert seen[7, 0] == IGNORED
    assert seen[0, 0] == 0
    assert not scenes.semantic(1).any()


def test_the_subject_is_the_largest_object_and_no_crowd(scenes):
    assert scenes.subjects.tolist() == [1, -1, 1]


def test_pictures_are_taken_with_their_objects(scenes):
    taken = scenes.take(torch.tensor([2, 0]))
    assert taken.flaw() is None
    for place, index in enumerate((2, 0)):
        assert torch.equal(taken.image(place), scenes.image(index))
        assert torch.equal(taken.objects(place).boxes, scenes.objects(index).boxes)
        assert torch.equal(taken.object_masks(place), scenes.object_masks(index))
    assert len(scenes.take(torch.tensor([], dtype=torch.int64))) == 0


def write(folder, scenes):
    return store.write(
        folder, name="toy", classes=["a", "b"], train=scenes, test=scenes, source="a test", options={"size": 5}
    )


def test_a_store_keeps_scenes(tmp_path, scenes):
    write(tmp_path / "toy", scenes)
    read = store.load(tmp_path / "toy")
    store.verify(read)
    assert torch.equal(read.scenes("test").semantic(0), scenes.semantic(0))
    assert (read.info["height"], read.info["width"]) == (8, 9)
    assert read.info["objects"] == {"train": 4, "test": 4}
    pixels = torch.cat([scenes.image(index).flatten(1) for index in range(3)], 1).double() / 255
    torch.testing.assert_close(torch.tensor(read.mean).double(), pixels.mean(1), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="toy has pictures of several sizes with objects in them"):
        _ = read.train


def test_a_store_of_labels_has_no_scenes(store):
    with pytest.raises(ValueError, match="shapes has one label a picture and no objects"):
        store.scenes("train")


def test_scenes_that_do_not_fit_together_are_refused(tmp_path, scenes):
    written = write(tmp_path / "toy", scenes)
    file = tmp_path / "toy" / "train.safetensors"
    tensors = store._tensors(written.parts["train"])
    store.save_file({**tensors, "counts": tensors["counts"] + 1}, tmp_path / "new")
    (tmp_path / "new").replace(file)
    with pytest.raises(ValueError, match="does not fit together \\(boxes of length 4 for 7\\)"):
        store.load(tmp_path / "toy")
    (tmp_path / "toy" / "test.safetensors").replace(file)
    write(tmp_path / "other", scenes.take(torch.tensor([0])))
    (tmp_path / "other" / "test.safetensors").replace(tmp_path / "toy" / "test.safetensors")
    with pytest.raises(ValueError, match=r"holds 1 pictures with 3 objects, its info.json says 3 with 4"):
        store.load(tmp_path / "toy")
