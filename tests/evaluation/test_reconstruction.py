"""On noise, whose pixels tell nothing of each other, what each operator keeps is known in closed form."""

import pytest
import torch
import torch.nn.functional as F

from poolbench import pooling
from poolbench.evaluation import reconstruction

NOISE = torch.rand(500, 2, 16, 16, generator=torch.Generator().manual_seed(0))
KEPT = {
    "subsample": 1 / 4,  # one pixel of four as it is
    "average": 1 / 4,  # of each pixel, the quarter of its variance that the mean of four shares with it
    "wavelet": 1 / 4,
    "max": 1 / 8,  # E[x | m] = 5 m / 8, and the variances of m and x are 2 / 75 and 1 / 12
    "adaptive_max": 1 / 8,
    "adaptive_average": 1 / 4,
}


@pytest.mark.parametrize(("name", "share"), KEPT.items())
def test_of_noise_each_operator_keeps_its_share(name, share):
    options = {"output_size": 8} if name.startswith("adaptive") else {}
    after = pooling.create(name, 2, **options)(NOISE)
    assert reconstruction(NOISE, after) == pytest.approx(share, abs=0.01)


def test_space_to_depth_with_as_many_channels_as_pixels_keeps_everything():
    torch.manual_seed(0)
    with torch.no_grad():
        after = pooling.create("space_to_depth", 2, out_channels=8)(NOISE)
        fewer = pooling.create("space_to_depth", 2, out_channels=2)(NOISE)
    assert reconstruction(NOISE, after) == pytest.approx(1, abs=1e-6)
    assert reconstruction(NOISE, fewer) == pytest.approx(1 / 4, abs=0.01)


def test_what_neighbours_tell_counts():
    """A map of blocks loses nothing to subsampling, and nothing to a blur that a neighbourhood undoes."""
    blocks = F.interpolate(NOISE, scale_factor=2)
    assert reconstruction(blocks, blocks[:, :, ::2, ::2]) == pytest.approx(1, abs=1e-6)


def test_a_map_of_nothing_tells_nothing():
    assert abs(reconstruction(NOISE, torch.zeros(500, 1, 8, 8))) < 1e-3


def test_the_share_is_of_pictures_not_seen():
    """With 288 readings of 2 pictures of 8 cells a fit is perfect where it was made, and worth nothing elsewhere."""
    few = torch.randn(4, 32, 4, 8, generator=torch.Generator().manual_seed(1))
    assert reconstruction(few, few[:, :, ::2, ::2]) < 0.3


def test_mistakes():
    with pytest.raises(ValueError, match="7 x 7 and 3 x 3 positions have no square cells"):
        reconstruction(torch.zeros(2, 1, 7, 7), torch.zeros(2, 1, 3, 3))
    with pytest.raises(ValueError, match="got 1"):
        reconstruction(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2))
