from pathlib import Path

import pytest
import torch

from poolbench.data import shapes
from poolbench.data.config import SHAPE_NAMES, ShapesConfig


def draw(**options):
    return shapes.read(ShapesConfig(**({"train": 60, "test": 30} | options)), Path())


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (33, 3)])
def test_shapes_law(size, channels):
    contents = draw(size=size, channels=channels)
    assert contents.train.images.shape == (60, channels, size, size)
    assert contents.test.images.shape == (30, channels, size, size)
    assert contents.train.images.dtype == torch.uint8
    assert contents.train.labels.bincount().tolist() == [10] * 6


def test_a_seed_repeats_and_another_differs():
    assert torch.equal(draw(seed=4).train.images, draw(seed=4).train.images)
    assert not torch.equal(draw(seed=4).train.images, draw(seed=5).train.images)


def test_train_and_test_share_no_picture():
    contents = draw(train=30, test=30)
    assert not (contents.train.images[:, None] == contents.test.images[None]).flatten(2).all(2).any()


def test_drawing_in_chunks_gives_every_picture(monkeypatch):
    monkeypatch.setattr(shapes, "PIXELS_AT_ONCE", 28 * 28 * 7)
    contents = draw(noise=0.0, clutter=0)
    assert (contents.train.images.flatten(1).max(1).values > 140).all()


def test_without_jitter_a_class_is_one_picture_up_to_brightness():
    contents = draw(position=0.0, scale=0.0, rotation=0.0, clutter=0, noise=0.0, classes=len(SHAPE_NAMES), train=80)
    images = contents.train.images[:, 0].double()
    low, high = images.amin((1, 2), keepdim=True), images.amax((1, 2), keepdim=True)
    masks = (images - low) / (high - low)
    for label in range(len(SHAPE_NAMES)):
        alike = masks[contents.train.labels == label]
        assert (alike - alike[0]).abs().max() < 0.02
        others = masks[contents.train.labels != label]
        assert ((others - alike[0]).abs().mean((1, 2)) > 0.03).all()


@pytest.mark.parametrize("option", [{"position": 0.0}, {"scale": 0.0}, {"rotation": 0.0}, {"clutter": 0}, {"noise": 0}])
def test_every_control_changes_the_pictures(option):
    assert not torch.equal(draw(**option).train.images, draw().train.images)
