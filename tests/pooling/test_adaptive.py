import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.pooling.adaptive import AdaptiveAverage, AdaptiveMax, BinAverage, bin_max, edges
from poolbench.pooling.fixed import Average, Max, unpool
from poolbench.pooling.fractional import region_max
from poolbench.pooling.heads import GlobalAverage

SIZES = [((6, 8), (3, 4)), ((7, 5), (3, 2)), ((5, 3), (7, 9)), ((1, 1), (2, 3)), ((10, 10), (6, 6))]


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("size", "output"), SIZES)
def test_agrees_with_torch(size: tuple[int, int], output: tuple[int, int]) -> None:
    x = normal(2, 3, *size)
    assert torch.equal(AdaptiveAverage(output)(x), F.adaptive_avg_pool2d(x, output))
    value, index = AdaptiveMax(output, return_indices=True)(x)
    expected = F.adaptive_max_pool2d(x, output, return_indices=True)
    assert torch.equal(value, expected[0])
    assert torch.equal(index, expected[1])


@pytest.mark.parametrize(("size", "output"), SIZES)
def test_deterministic_backward_is_that_of_torch(size: tuple[int, int], output: tuple[int, int]) -> None:
    x = normal(2, 3, *size).requires_grad_()
    gradient = normal(2, 3, *output)
    for ours, torchs in (
        (BinAverage.apply(x, output), F.adaptive_avg_pool2d(x, output)),
        (bin_max(x, output)[0], F.adaptive_max_pool2d(x, output)),
    ):
        torch.testing.assert_close(*(torch.autograd.grad(y, x, gradient)[0] for y in (ours, torchs)))
    assert torch.autograd.gradgradcheck(lambda x: BinAverage.apply(x, output), x, fast_mode=True)


@pytest.mark.parametrize(("size", "output"), SIZES)
def test_what_is_exported_computes_the_same(size: tuple[int, int], output: tuple[int, int]) -> None:
    x = torch.randint(0, 4, (2, 3, *size)).double()
    rows, columns = (edges(*axis) for axis in zip(size, output, strict=True))
    assert all(map(torch.equal, region_max(x, rows, columns), bin_max(x, output)))


def test_sizes_that_divide_are_plain_pooling() -> None:
    x = normal(2, 3, 8, 12)
    torch.testing.assert_close(AdaptiveAverage((4, 4))(x), Average((2, 3))(x))
    assert torch.equal(AdaptiveMax((4, 4))(x), Max((2, 3))(x))


def test_one_bin_is_global_pooling() -> None:
    x = normal(2, 3, 7, 5)
    torch.testing.assert_close(AdaptiveAverage(1)(x).flatten(1), GlobalAverage()(x))


def test_unpool_takes_its_switches() -> None:
    x = normal(2, 3, 7, 5).abs()
    y, index = AdaptiveMax((3, 2), return_indices=True)(x)
    back = unpool(y, index, (7, 5))
    assert torch.equal(AdaptiveMax((3, 2))(back), y)


def test_output_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="output_size must be at least 1"):
        AdaptiveMax(0)
