import numpy as np
import pytest
import torch
from PIL import Image

from poolbench.data.feed import FittedFeed
from poolbench.data.fit import by_shape, fitted, shape, squares
from poolbench.data.objects import Thing, pack

PICTURES = [
    np.random.default_rng(seed).integers(0, 256, (1, *size), dtype=np.uint8)
    for seed, size in enumerate([(40, 40), (40, 60), (60, 40), (41, 61), (90, 30)])
]


def thing(label, picture):
    return Thing(label, (1, 1, 9, 9), np.ones(picture.shape[1:], bool))


SCENES = pack([(picture, [thing(label, picture)]) for label, picture in enumerate(PICTURES)], channels=1)


def test_full_keeps_proportions_and_groups_like_shapes():
    found = by_shape(SCENES, "full", 32)
    assert {size: numbers.tolist() for size, (numbers, _) in found.items()} == {
        (32, 32): [0],
        (32, 48): [1, 3],
        (48, 32): [2],
        (96, 32): [4],
    }
    assert all(images.shape[2:] == size for size, (_, images) in found.items())


@pytest.mark.parametrize("fit", ["crop", "warp"])
def test_squares(fit):
    assert squares(SCENES, fit, 24).shape == (5, 1, 24, 24)
    assert list(by_shape(SCENES, fit, 24)) == [(24, 24)]


def test_a_warp_is_the_resampling_that_pillow_does():
    expected = np.asarray(Image.fromarray(PICTURES[1][0]).resize((24, 24), Image.Resampling.BILINEAR))
    found = fitted(torch.from_numpy(PICTURES[1]), "warp", 24)[0].numpy()
    assert abs(found.astype(int) - expected).max() <= 1


def test_a_crop_keeps_the_middle():
    found = fitted(torch.from_numpy(PICTURES[2]), "crop", 40)
    assert torch.equal(found, torch.from_numpy(PICTURES[2][:, 10:50]))


def test_the_shorter_side_is_never_less():
    assert shape(100, 101, "full", 36) == (36, 40)
    assert shape(100, 103, "full", 50) == (50, 50)


def test_an_unknown_fit():
    with pytest.raises(ValueError, match=r"unknown data.fit 'wrap': did you mean 'warp'"):
        shape(10, 10, "wrap", 8)


def test_what_has_no_object_has_no_class():
    scenes = pack([(PICTURES[0], []), (PICTURES[0], [thing(3, PICTURES[0])])], channels=1)
    assert [numbers.tolist() for numbers, _ in by_shape(scenes, "warp", 8).values()] == [[1]]


def test_a_feed_gives_each_picture_once_with_its_class_in_batches_of_one_shape():
    many = pack([(picture, [thing(label, picture)]) for label, picture in enumerate(PICTURES * 4)], channels=1)
    groups = list(by_shape(many, "full", 32).values())
    for seed in (None, 3):
        feed = FittedFeed(groups, many.subjects, 2, seed)
        batches = list(feed)
        assert len(batches) == len(feed) == 10
        assert sorted(label for _, labels in batches for label in labels.tolist()) == list(range(20))
        for images, labels in batches:
            for image, label in zip(images, labels.tolist(), strict=True):
                assert torch.equal(image, fitted(many.image(label), "full", 32))
    orders = [[labels.tolist() for _, labels in FittedFeed(groups, many.subjects, 2, seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_no_picture_trains_alone():
    groups = list(by_shape(SCENES, "full", 32).values())
    assert [len(labels) for _, labels in FittedFeed(groups, SCENES.subjects, 4, 0)] == [2]
    assert len(FittedFeed(groups, SCENES.subjects, 4)) == 4
