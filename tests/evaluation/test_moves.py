import numpy as np
import pytest
import torch

from poolbench.evaluation import moves

IMAGES = torch.randint(0, 256, (3, 2, 7, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
GRID = [(dy, dx) for dy in range(-4, 5) for dx in range(-6, 7)]


def made(motion, chosen, images=IMAGES, **options):
    return [each.clone().double().numpy() for each in motion(images, chosen, **options)]


def test_whole_circular_shifts_are_rolls():
    for (dy, dx), moved in zip(GRID, made(moves.circular, GRID), strict=True):
        np.testing.assert_array_equal(moved, np.roll(IMAGES.numpy(), (dy, dx), (2, 3)))


def test_whole_circular_shifts_copy_no_picture():
    first, second = moves.circular(IMAGES, [(1, 1), (2, 2)])
    assert first.dtype == torch.uint8
    assert first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


def test_a_torus_goes_round():
    far = made(moves.circular, [(7, 0), (-3, 23)])
    for found, roll in zip(far, [(0, 0), (-3, 3)], strict=True):
        np.testing.assert_array_equal(found, np.roll(IMAGES.numpy(), roll, (2, 3)))


@pytest.mark.parametrize("fill", [0.0, [7.5, 20.25]])
def test_crops_are_cut_from_a_padded_picture(fill):
    values = np.broadcast_to(np.reshape(fill, (-1, 1, 1)), (2, 1, 1))
    for (dy, dx), moved in zip(GRID, made(moves.crop, GRID, fill=torch.tensor(fill)), strict=True):
        expected = np.empty(IMAGES.shape)
        for y in range(7):
            for x in range(10):
                inside = 0 <= y - dy < 7 and 0 <= x - dx < 10
                expected[:, :, y, x] = IMAGES[:, :, y - dy, x - dx] if inside else values[:, 0, 0]
        np.testing.assert_allclose(moved, expected, rtol=1e-6)


@pytest.mark.parametrize(("motion", "mode"), [(moves.circular, "wrap"), (moves.crop, "constant")])
def test_shifts_between_pixels_are_bilinear(motion, mode):
    chosen = [(0.25, -1.5), (-0.75, 2), (1, 0.5)]
    pad = np.pad(IMAGES.double().numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode=mode)
    for (dy, dx), moved in zip(chosen, made(motion, chosen), strict=True):
        for y, x in [(0, 0), (3, 4), (6, 9)]:
            down, right = y - dy + 4, x - dx + 4
            top, left = int(np.floor(down)), int(np.floor(right))
            expected = sum(
                (1 - abs(down - row)) * (1 - abs(right - column)) * pad[:, :, row, column]
                for row in (top, top + 1)
                for column in (left, left + 1)
            )
            np.testing.assert_allclose(moved[:, :, y, x], expected, rtol=1e-5)


@pytest.mark.parametrize("sides", [(7, 10), (8, 6)])
def test_fourier_shifts_whole_pixels_exactly_and_waves_anyhow(sides):
    height, width = sides
    images = torch.rand(2, 1, height, width, dtype=torch.double)
    for (dy, dx), moved in zip(GRID[:9], made(moves.fourier, GRID[:9], images), strict=True):
        np.testing.assert_allclose(moved, np.roll(images.numpy(), (dy, dx), (2, 3)), atol=1e-5)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    def wave(dy, dx):
        return torch.cos(2 * torch.pi * ((rows - dy) / height - 2 * (columns - dx) / width) + 0.3)

    (moved,) = moves.fourier(wave(0, 0)[None, None], [(0.3, -1.25)])
    torch.testing.assert_close(moved[0, 0], wave(0.3, -1.25), atol=1e-5, rtol=0)


def test_a_quarter_turn_and_a_doubling():
    images = torch.rand(1, 1, 6, 6)
    (turned,) = moves.rotation(images, [(90,)])
    torch.testing.assert_close(turned, images.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    (small,) = moves.scaling(images + 1, [(0.5,)], fill=9.0)
    assert small[0, 0, 0, 0] == 9
    torch.testing.assert_close(small[0, 0, 2, 2], images[0, 0, 1:3, 1:3].mean() + 1)


def test_a_turn_of_an_oblong_picture_turns_it():
    """A dot right of the centre goes up by as many pixels."""
    images = torch.zeros(1, 1, 9, 15)
    images[0, 0, 4, 10] = 1
    (turned,) = moves.rotation(images, [(90,)])
    assert turned[0, 0].argmax() == 1 * 15 + 7
