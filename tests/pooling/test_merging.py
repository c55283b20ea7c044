import pytest
import torch
import torch.nn.functional as F
from torchvision.models import swin_transformer

from poolbench.pooling.merging import PatchMerging, PatchMergingV1, PatchMergingV2, SpaceToDepth


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 1)])
@pytest.mark.parametrize(
    ("operator", "peer"),
    [
        (PatchMergingV1, swin_transformer.PatchMerging),
        (PatchMergingV2, swin_transformer.PatchMergingV2),
    ],
)
def test_patch_merging_is_that_of_torchvision(
    operator: type[PatchMergingV1 | PatchMergingV2], peer: type[torch.nn.Module], size: tuple[int, int]
) -> None:
    module, other = operator(4, out_channels=8), peer(4)
    other.load_state_dict(module.state_dict())
    x = torch.randn(2, 4, *size)
    torch.testing.assert_close(module(x), other(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def test_pixels_are_stacked_by_columns() -> None:
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert PatchMerging.cells(x).flatten().tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_space_to_depth_is_unshuffle_and_projection(stride: int) -> None:
    module, x = SpaceToDepth(3, stride, out_channels=5), torch.randn(2, 3, 6, 12)
    weight = module.projection.weight.flatten(1)[:, :, None, None]
    torch.testing.assert_close(module(x), F.conv2d(F.pixel_unshuffle(x, stride), weight, module.projection.bias))


def test_odd_maps_are_cut_or_filled() -> None:
    x = torch.randn(1, 4, 7, 5)
    assert SpaceToDepth(4)(x).shape == (1, 4, 3, 2)
    assert PatchMergingV1(4)(x).shape == PatchMergingV2(4)(x).shape == (1, 4, 4, 3)


def test_a_map_smaller_than_a_cell() -> None:
    with pytest.raises(ValueError, match=r"the map must hold a cell of 3 x 3, got \(2, 5\)"):
        SpaceToDepth(1, 3)(torch.zeros(1, 1, 2, 5))


@pytest.mark.parametrize("operator", [SpaceToDepth, PatchMergingV1, PatchMergingV2])
def test_out_channels_are_positive(operator: type[SpaceToDepth | PatchMergingV1 | PatchMergingV2]) -> None:
    with pytest.raises(ValueError, match="out_channels must be at least 1, or None for as many as go in, got 0"):
        operator(4, out_channels=0)
