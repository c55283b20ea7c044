import numpy as np
import pytest
import torch

from poolbench.evaluation.boundary import band, boundary_iou


def drawn(seed, ignore=False):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(-1 if ignore else 0, 3, (2, 4, 5), generator=generator)
    return coarse.repeat_interleave(3, 1).repeat_interleave(2, 2)


def slow_band(labels, label, distance):
    """Pixels of the class that have one outside of it, or the picture's edge, within the distance."""
    height, width = labels.shape
    found = np.zeros((height, width), bool)
    for row, column in np.ndindex(height, width):
        if labels[row, column] != label:
            continue
        for down in range(-distance, distance + 1):
            for right in range(-distance, distance + 1):
                y, x = row + down, column + right
                outside = not (0 <= y < height and 0 <= x < width)
                found[row, column] |= outside or labels[y, x] != label
    return found


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_against_the_slow_reference(distance):
    answer, truth = drawn(0), drawn(1, ignore=True)
    expected = np.zeros((2, 3), int)
    for guess, real in zip(answer.numpy(), truth.numpy(), strict=True):
        guess = np.where(real == -1, -1, guess)
        for label in range(3):
            bands = slow_band(guess, label, distance), slow_band(real, label, distance)
            expected[:, label] += (bands[0] & bands[1]).sum(), (bands[0] | bands[1]).sum()
    assert boundary_iou(answer, truth, 3, distance).tolist() == expected.tolist()


def test_a_wide_band_is_the_whole_area():
    answer, truth = drawn(2), drawn(3)
    found = boundary_iou(answer, truth, 3, 12)
    areas = [((answer == label) & (truth == label), (answer == label) | (truth == label)) for label in range(3)]
    assert found.T.tolist() == [[each.sum().item() for each in pair] for pair in areas]


def test_an_error_inside_costs_nothing_and_one_at_the_outline_does():
    truth = torch.zeros(1, 20, 20, dtype=torch.long)
    truth[:, 4:16, 4:16] = 1
    inside, outline = truth.clone(), truth.clone()
    inside[:, 9:11, 9:11] = 2
    outline[:, 4:6, 9:11] = 0
    hits, union = boundary_iou(inside, truth, 3, 1)
    assert hits[1] == 44 < union[1]  # its own outline, and that of the hole
    hits, union = boundary_iou(outline, truth, 3, 1)
    assert hits[1] < 44


def test_the_band_grows_with_the_picture():
    assert [band(side, side) for side in (16, 96, 512)] == [1, 3, 14]
