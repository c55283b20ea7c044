import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from poolbench.evaluation import CORRUPTIONS, corrupt, robustness

IMAGES = torch.randint(0, 256, (4, 3, 12, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
COARSE = IMAGES[:, :, ::3, ::3].repeat_interleave(3, 2).repeat_interleave(3, 3)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_stay_pictures_and_the_same_every_time(kind, channels):
    for severity in range(1, 6):
        spoilt = corrupt(IMAGES[:, :channels], kind, severity)
        assert spoilt.dtype == torch.uint8
        assert spoilt.shape == IMAGES[:, :channels].shape
        assert torch.equal(spoilt, corrupt(IMAGES[:, :channels], kind, severity))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_worse_is_further_away(kind):
    distance = [(corrupt(COARSE, kind, severity).float() - COARSE).norm() for severity in range(1, 6)]
    assert distance == sorted(distance)
    assert distance[0] > 0


@pytest.mark.parametrize(("severity", "deviation"), [(1, 0.4), (5, 1.0)])
def test_blur_is_a_gaussian(severity, deviation):
    expected = ndimage.gaussian_filter(IMAGES.numpy() / 255, (0, 0, deviation, deviation), mode="nearest", truncate=4)
    found = corrupt(IMAGES, "gaussian_blur", severity).numpy()
    assert np.abs(found - np.floor(expected * 255 + 1e-3)).max() <= 1  # float32 against float64 at a level's edge


def test_contrast_draws_each_channel_to_its_mean():
    scaled = IMAGES.double().numpy() / 255
    mean = scaled.mean((2, 3), keepdims=True)
    expected = np.floor(((scaled - mean) * 0.4 + mean) * 255)
    assert np.abs(corrupt(IMAGES, "contrast", 3).numpy() - expected).max() <= 1


def test_noise_has_its_deviation():
    grey = torch.full((1, 1, 300, 300), 128, dtype=torch.uint8)
    for severity, deviation in enumerate((0.04, 0.06, 0.08, 0.09, 0.10), start=1):
        noise = corrupt(grey, "gaussian_noise", severity).double() / 255
        assert noise.std().item() == pytest.approx(deviation, rel=0.02)


def test_jpeg_is_that_of_pillow():
    file = io.BytesIO()
    Image.fromarray(IMAGES[1].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=40)
    expected = np.asarray(Image.open(file))
    np.testing.assert_array_equal(corrupt(IMAGES, "jpeg", 5)[1].permute(1, 2, 0), expected)


def test_accuracy_of_each():
    def bright(batch):
        level = batch.float().mean((1, 2, 3)) / 255
        return torch.stack([0.5 - level, level - 0.5], 1)

    labels = bright(IMAGES).argmax(1)
    found = robustness(bright, IMAGES, labels, batch_size=3)
    assert found.keys() == CORRUPTIONS.keys()
    for kind, severities in found.items():
        expected = [
            (bright(corrupt(IMAGES, kind, level)).argmax(1) == labels).double().mean().item() for level in range(1, 6)
        ]
        assert [value for value, _, _ in severities] == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "severity"), [("fog", 1), ("jpeg", 0), ("jpeg", 6)])
def test_mistakes_are_named(kind, severity):
    with pytest.raises(ValueError, match=r"unknown corruption 'fog'|severity must be from 1 to 5"):
        corrupt(IMAGES, kind, severity)
