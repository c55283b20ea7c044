from pathlib import Path

import numpy as np
import pytest
import torch

from poolbench import data
from poolbench.data import shapes
from poolbench.data.config import ScenesConfig, ShapesConfig
from poolbench.data.scenes import _cut

OPTIONS = {"source": "scenes", "of": "shapes", "train": 40, "test": 20, "smallest": 40, "largest": 72, "fewest": 0}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return data.prepare(OPTIONS, tmp_path_factory.mktemp("data")).scenes("train")


def test_sizes_and_numbers_vary_within_their_bounds(scenes):
    assert 40 <= scenes.sizes.min() < scenes.sizes.max() <= 72
    assert set(scenes.counts.tolist()) == set(range(6))


def test_a_box_is_around_its_mask_and_within_its_picture(scenes):
    for index in range(len(scenes)):
        for box, mask in zip(scenes.objects(index).boxes, scenes.object_masks(index), strict=True):
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_no_pixel_belongs_to_two_objects(scenes):
    assert (
        max(int(scenes.object_masks(index).sum(0).max()) for index in range(len(scenes)) if scenes.counts[index]) == 1
    )


def test_objects_are_laid_over_each_other(scenes):
    assert any(
        (boxes[i, :2] < boxes[j, 2:]).all() and (boxes[j, :2] < boxes[i, 2:]).all()
        for boxes in (scenes.objects(index).boxes for index in range(len(scenes)))
        for i in range(len(boxes))
        for j in range(i)
    )


def test_the_seed_decides_and_the_splits_differ(tmp_path, scenes):
    again = data.prepare(OPTIONS, tmp_path)
    other = data.prepare(OPTIONS | {"seed": 1, "name": "other"}, tmp_path)
    assert torch.equal(again.scenes("train").pixels, scenes.pixels)
    assert other.checksum != again.checksum
    assert not torch.equal(again.scenes("test").image(0), scenes.image(0))


def test_objects_are_cut_out_whole():
    drawn = shapes.read(ShapesConfig(train=60, test=1, position=0, clutter=0, noise=0), Path()).train
    for image, label in zip(drawn.images[:, 0].numpy(), drawn.labels, strict=True):
        cut, mask = _cut(image)
        ground = float(np.median(image[0]))
        inside, whole = abs(cut[mask] - ground).sum(), abs(image.astype(float) - ground).sum()
        assert inside > 0.95 * whole
        if drawn.labels.max() >= 4 and label == 4:  # what a ring encloses belongs to it
            assert mask[mask.shape[0] // 2, mask.shape[1] // 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "cifar10"}, "data.of must be fashion_mnist or shapes, got 'cifar10'"),
        ({"largest": 30}, "data.largest must be >= 64, got 30"),
        ({"most": 0}, "data.most must be >= 1, got 0"),
        ({"overlap": 1}, "data.overlap must be between 0 and 0.9, got 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ScenesConfig(**options).check()
