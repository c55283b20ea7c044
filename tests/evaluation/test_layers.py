import pytest
import torch
from torch import nn

from poolbench import models
from poolbench.evaluation import equivariance, geometry
from poolbench.pooling.fixed import Average, Max
from poolbench.pooling.receptive import receptive_field

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


def test_what_an_output_sees_is_what_its_chain_of_windows_spans():
    layers = [Average(3, 1), Max(2), Average((2, 3), (2, 3)), Average(3, 1)]
    network = nn.Sequential(*layers)
    found = geometry(network, dict(network.named_children()), torch.zeros(2, 60, 70))
    for place, each in enumerate(found.values(), 1):
        size, _ = receptive_field(layer.window for layer in layers[:place])
        assert each.sees == list(size)
        assert each.shape == list(network[:place](torch.zeros(1, 2, 60, 70)).shape[1:])


def test_geometry_of_networks_grows_to_the_whole_picture():
    network = models.create("resnet_mini", (1, 28, 28), 10)
    found = geometry(network, dict(network.named_children()), torch.zeros(1, 28, 28))
    fields = [each.sees for each in found.values() if each.sees]
    assert fields == sorted(fields)
    assert fields[-1] == [28, 28]
    *_, last = found.values()
    assert (last.shape, last.sees) == ([10], None)
    tokens = models.create("vit_mini", (1, 28, 28), 10)
    assert all(
        each.sees is None
        for each in geometry(tokens, dict(tokens.named_children()), torch.zeros(1, 28, 28)).values()
        if len(each.shape) < 3
    )


SMALL = [name for name in models.names() if name.endswith("_mini") and models.task(name) == "classification"]


@pytest.mark.parametrize("name", SMALL)
def test_layers_of_every_small_network_are_seen(name):
    network = models.network(name)((1, 28, 28), 4).eval()
    layers = dict(network.named_children())
    found = equivariance(network, layers, torch.rand(1, 1, 28, 28), [(1, 1)])
    assert found.keys() == layers.keys()
