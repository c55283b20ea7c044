"""What the definitions of the context operators promise."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP as TorchvisionASPP

from poolbench import pooling
from poolbench.pooling.context import ASPP, SPPF, PyramidPooling, upsample


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def maps(*shape: int) -> Tensor:
    return torch.randn(shape or (2, 4, 7, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("training", [False, True])
def test_aspp_is_torchvisions(training: bool) -> None:
    """Of the same rates and weights, and without its dropout; its default rates are twice those of the paper."""
    peer = TorchvisionASPP(4, [6, 12, 18], out_channels=3).double().train(training)
    peer.project[3] = nn.Identity()
    ours = ASPP(4, out_channels=3).double().train(training)
    theirs = [*peer.convs[:4], nn.Sequential(*list(peer.convs[4])[1:]), peer.project]
    for branch, weights in zip([*ours.branches, ours.image, ours.project], theirs, strict=True):
        branch.load_state_dict(weights.state_dict())
    torch.testing.assert_close(ours(maps()), peer(maps()))


@pytest.mark.parametrize("name", ["aspp", "ppm"])
def test_every_position_sees_the_whole_map(name: str) -> None:
    """Image pooling reaches where no convolution does."""
    context = pooling.create(name, 32).double().eval()
    x = maps(1, 32, 40, 3).requires_grad_()
    gradient = torch.autograd.grad(context(x)[:, :, 0, 0].sum(), x)[0]
    assert (gradient.abs().sum(1) > 0).all()


@pytest.mark.parametrize("size", [(9, 7), (1, 4), (3, 3)])
def test_upsample_is_torchs(size: tuple[int, int]) -> None:
    expected = nn.functional.interpolate(maps(2, 3, 3, 2), size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(upsample(maps(2, 3, 3, 2), *size), expected)


@pytest.mark.parametrize(("name", "side"), [("aspp", 4), ("ppm", 4), ("sppf", 1)])
def test_one_picture_has_no_spread_to_train_on(name: str, side: int) -> None:
    operator = pooling.create(name, channels=4)
    with pytest.raises(ValueError, match=r"batch norm in training needs two values a channel.* two pictures a batch"):
        operator(torch.rand(1, 4, side, side))
    operator(torch.rand(2, 4, side, side)).sum().backward()
    assert operator.eval()(torch.rand(1, 4, side, side)).isfinite().all()


def test_ppm_of_one_level_is_the_map_beside_its_mean() -> None:
    x, ppm = maps(), PyramidPooling(4, levels=(1,)).double().eval()
    y = ppm(x)
    assert y.shape == (2, 8, 7, 5)
    assert torch.equal(y[:, :4], x)
    assert torch.equal(y[:, 4:], y[:, 4:, :1, :1].expand_as(x))


def test_sppf_maxima_are_those_of_growing_windows() -> None:
    """Three maxima of 5 pixels, one after the other, are the parallel 5, 9 and 13 of spatial pyramid pooling."""
    x, sppf = maps(2, 4, 20, 20), SPPF(4).double().eval()
    z = sppf.reduce(x)
    parallel = [z, *(nn.functional.max_pool2d(z, size, 1, size // 2) for size in (5, 9, 13))]
    assert torch.equal(sppf(x), sppf.project(torch.cat(parallel, 1)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("aspp", {"rates": (6, 0)}, "rates must be at least 1, got 6, 0"),
        ("aspp", {"rates": ()}, "rates must be at least 1, got none"),
        ("ppm", {"levels": (1, 2, 3, 4, 5)}, "levels must be no more than the 4 channels, got 5"),
        ("sppf", {"kernel_size": 4}, "kernel_size must be odd and at least 1, got 4"),
    ],
)
def test_bad_options(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pooling.create(name, 4, **options)
