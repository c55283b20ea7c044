import pytest
import torch
from torch import nn

from poolbench import pooling
from poolbench.evaluation.forgetting import maps_before, told


@pytest.fixture(scope="module")
def dots():
    """Maps with one dot each on a ground of noise, and where the dot lies, as shares of the side."""
    generator = torch.Generator().manual_seed(0)
    maps = 0.05 * torch.rand(600, 3, 8, 8, generator=generator)
    places = torch.randint(8, (600, 2), generator=generator)
    maps[torch.arange(600), 0, places[:, 0], places[:, 1]] = 1
    targets = (places + 0.5) / 8
    return (maps[:400], targets[:400]), (maps[400:], targets[400:])


def test_the_finer_the_grid_the_better_it_tells_the_place(dots):
    grids = [told(pooling.create("spp", 3, levels=(level,)), *dots)["r2"] for level in (1, 2, 4, 8)]
    assert grids[0] < 0.05
    assert grids[0] + 0.6 < grids[1] < grids[2] < grids[3]
    assert grids[3] > 0.97


def test_a_grid_of_two_knows_the_half_and_no_more(dots):
    """Of a place that is uniform over 8 positions, the half tells 1 - (16 - 1) / (64 - 1) of the variance."""
    assert told(pooling.create("spp", 3, levels=(2,)), *dots)["r2"] == pytest.approx(1 - 15 / 63, abs=0.05)


def test_the_error_is_the_mean_distance(dots):
    """A head that tells nothing leaves the mean distance from the middle."""
    nothing = told(nn.Sequential(nn.Flatten(), nn.Threshold(1e9, 0)), *dots)
    assert nothing["error"] == pytest.approx((dots[1][1] - dots[0][1].mean(0)).norm(dim=1).mean().item(), abs=1e-4)
    assert nothing["r2"] < 0.01


def test_a_head_with_weights_learns_before_it_is_read(dots):
    """Attention knows no places of its own; with the coordinates among the channels it can gather them."""
    steps = (torch.arange(8) + 0.5) / 8

    def placed(maps):
        rows, columns = steps[:, None].expand(8, 8), steps.expand(8, 8)
        return torch.cat([maps, torch.stack([rows, columns]).expand(len(maps), 2, 8, 8)], 1)

    torch.manual_seed(0)
    (seen, near), (fresh, far) = dots
    blind = told(pooling.create("map", 3), *dots)["r2"]
    assert told(pooling.create("map", 5), (placed(seen), near), (placed(fresh), far))["r2"] > blind + 0.5


def test_maps_before_a_layer():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten())
    images = torch.rand(5, 1, 8, 8)
    found = maps_before(model, model[1], images, batch_size=2)
    torch.testing.assert_close(found, model[0](images).detach())
