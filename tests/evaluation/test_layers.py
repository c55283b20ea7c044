import pytest
import torch
from torch import nn

from poolbench.evaluation import equivariance

IMAGES = torch.rand(5, 2, 12, 12, generator=torch.Generator().manual_seed(0))
MOVES = [(1, 1), (2, -3)]


def errors(*layers, moves=MOVES, images=IMAGES, batch_size=2):
    torch.manual_seed(0)
    model = nn.Sequential(*layers)
    found = equivariance(model, dict(model.named_children()), images, moves, batch_size)
    return [value for value, _, _ in found.values()]


def test_what_commutes_with_shifts_has_no_error():
    convolution = nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")
    found = errors(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert max(found) < 1e-6


def test_a_border_and_a_stride_are_seen_where_they_stand():
    circular = nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")
    first, second, last = errors(circular, nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), moves=[(1, 1)])
    assert first < 1e-6 < 0.05 < second
    assert last > 1e-6


def test_by_definition():
    """One picture, one whole shift of a map of full size: the distance from the rolled map, in parts of its norm."""
    torch.manual_seed(1)
    layer = nn.Conv2d(2, 3, 3, padding=1)
    found = equivariance(layer, {"layer": layer}, IMAGES[:1], [(2, 1)])["layer"][0]
    with torch.no_grad():
        still, seen = layer(IMAGES[:1]), layer(IMAGES[:1].roll((2, 1), (2, 3)))
    expected = (seen - still.roll((2, 1), (2, 3))).norm() / still.norm()
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_a_band_limited_map_may_move_between_its_pixels():
    """A wave that a stride leaves whole: half a pixel of the small map is a whole one of the picture."""
    wave = torch.cos(2 * torch.pi * torch.arange(12) / 12).expand(1, 1, 12, 12)
    (error,) = errors(nn.AvgPool2d(1, 2), moves=[(1, 1)], images=wave)
    assert error < 1e-5


def test_what_picks_another_phase_may_jump():
    class Phase(nn.Module):
        """The component of stride 2 that holds the largest value."""

        def forward(self, x):
            row, column = divmod(int(x[0, 0].argmax()), 12)
            return x[:, :, row % 2 :: 2, column % 2 :: 2]

    found = errors(Phase(), images=IMAGES[:1], batch_size=1)
    assert found[0] < 1e-6


def test_hooks_are_taken_off_again():
    layer = nn.Conv2d(2, 3, 1)
    equivariance(layer, {"layer": layer}, IMAGES, MOVES)
    assert not layer._forward_hooks
