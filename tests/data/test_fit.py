import numpy as np
import pytest
import torch
from PIL import Image

from poolbench.data.fit import by_shape, fitted, shape, squares
from poolbench.data.objects import pack

PICTURES = [
    np.random.default_rng(seed).integers(0, 256, (1, *size), dtype=np.uint8)
    for seed, size in enumerate([(40, 40), (40, 60), (60, 40), (41, 61), (90, 30)])
]
SCENES = pack([(picture, []) for picture in PICTURES], channels=1)


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
