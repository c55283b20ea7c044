import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench import pooling
from poolbench.pooling.fixed import Average, Max, Median, OverlappingAverage, OverlappingMax, Subsample, unpool

INF = float("inf")


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", [{"padding": 1}, {"padding": "same"}, {"padding": 1, "ceil_mode": True}])
def test_switches_point_at_the_maximum(options: dict) -> None:
    x = normal(2, 3, 6, 7)
    value, index = Max(3, 2, return_indices=True, **options)(x)
    assert torch.equal(value, Max(3, 2, **options)(x))
    assert torch.equal(x.flatten(2).gather(2, index.flatten(2)), value.flatten(2))


def test_switches_are_those_of_torch() -> None:
    x = torch.randint(0, 3, (2, 3, 6, 7)).double()
    assert torch.equal(Max(3, 2, 1, return_indices=True)(x)[1], F.max_pool2d(x, 3, 2, 1, return_indices=True)[1])


def test_switches_of_a_map_of_minus_infinity_lie_in_the_map() -> None:
    assert Max(3, 1, "same", return_indices=True)(torch.full((1, 1, 2, 2), -INF))[1].tolist() == [[[[0, 0], [0, 0]]]]


def test_dilated_window_over_padding_alone() -> None:
    """torch's own padding gives an index outside of the map here, and writes there in the backward."""
    x = torch.ones(1, 1, 1, 1, requires_grad=True)
    y = Max(2, 1, 1, dilation=2)(x)
    y.backward()
    assert y.item() == -INF
    assert x.grad is not None
    assert x.grad.item() == 0


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": "same", "dilation": 3}, {"dilation": 2}])
def test_a_window_of_minus_infinity_gives_its_gradient_to_its_first_position(options: dict, backend: None) -> None:
    """Of -inf alone torch points to where the window starts, in the padding too."""
    pool, x = Max(3, 2, **options), torch.full((1, 1, 7, 8), -INF, requires_grad=True)
    gradient = normal(*pool(x).shape).float()
    pool(x).backward(gradient)
    _, index = Max(3, 2, return_indices=True, **options)(x)
    (left, _, top, _), step = pool.window.border(7, 8), pool.window.dilation[0]
    expected = torch.zeros(7, 8)
    for i, j in np.ndindex(*gradient.shape[-2:]):
        row, column = (
            next(place for place in range(start, start + 3 * step, step) if place >= 0)
            for start in (2 * i - top, 2 * j - left)
        )
        if row < 7 and column < 8:
            expected[row, column] += gradient[0, 0, i, j]
            assert index[0, 0, i, j] == 8 * row + column
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0, 0], expected)


def test_switches_of_dilated_windows_lie_in_them() -> None:
    """The first window starts one row and one column above the map, and meets its second of both."""
    x = torch.full((1, 1, 4, 4), -INF)
    assert Max(3, 4, 1, dilation=2, return_indices=True)(x)[1].tolist() == [[[[1 * 4 + 1]]]]


@pytest.mark.parametrize(("kernel", "dilation", "centres"), [(2, 6, [[0, 0], [0, 0]]), (3, 9, [[1, 1], [1, 1]])])
def test_a_centre_in_the_padding_gives_zero(kernel: int, dilation: int, centres: list, backend: None) -> None:
    """The centre of two positions is the first, which here lies before the map."""
    assert Subsample(kernel, 1, "same", dilation)(torch.ones(1, 1, 2, 2)).tolist() == [[centres]]


def test_unpool_is_undone_by_max() -> None:
    x = normal(2, 3, 6, 8).abs()
    y, index = Max(return_indices=True)(x)
    back = unpool(y, index, (6, 8))
    assert torch.equal(back, F.max_unpool2d(y, index, [2, 2]))
    assert torch.equal(Max()(back), y)


def test_unpool_carries_the_gradient_to_its_value() -> None:
    y = normal(1, 1, 2, 2).requires_grad_()
    index = torch.tensor([[[[0, 3], [9, 15]]]])
    assert torch.autograd.gradcheck(lambda y: unpool(y, index, (4, 4)), y)


def test_unpool_wants_an_index_for_each_value() -> None:
    with pytest.raises(ValueError, match="one index for each value"):
        unpool(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1, dtype=torch.int64), (4, 4))


def test_first_of_equal_maxima_receives_the_gradient() -> None:
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    Max()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 0, 0, 0]


def test_overlapping_at_a_stride_of_its_kernel_is_plain() -> None:
    x = normal(2, 3, 6, 8)
    assert torch.equal(OverlappingMax(2, 2, 0)(x), Max()(x))
    assert torch.equal(OverlappingAverage(2, 2, 0)(x), Average()(x))


def test_corner_of_an_average_counts_its_padding() -> None:
    x = torch.ones(1, 1, 4, 4)
    assert Average(3, 1, 1)(x)[0, 0, 0, 0].item() == pytest.approx(4 / 9)
    assert Average(3, 1, 1, count_include_pad=False)(x)[0, 0, 0, 0].item() == 1


def test_same_padding_is_tensorflows() -> None:
    """On 4 pixels, 3x3 at stride 2, TensorFlow pads at the end alone: windows 0-2 and 2-3."""
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert Max(3, 2, "same")(x).flatten().tolist() == [10, 11, 14, 15]
    assert Max(3, 2, 1)(x).flatten().tolist() == [5, 7, 13, 15]


def test_a_quarter_of_the_positions_is_left() -> None:
    x = normal(1, 2, 28, 28)
    for name in ("max", "average", "median", "subsample", "lp", "softpool", "blur", "max_blur", "wavelet", "spectral"):
        assert pooling.create(name, 2)(x).numel() * 4 == x.numel()


def test_median_ignores_what_lies_outside() -> None:
    assert Median(3, 1, 1)(torch.tensor([[[[1.0, 2.0], [9.0, 4.0]]]])).flatten().tolist() == [3, 3, 3, 3]


def test_median_agrees_with_peers_inside() -> None:
    """scipy and kornia agree on odd windows; at the border theirs count reflected pixels and zeros."""
    x = normal(1, 1, 8, 9)
    y = Median(3, 1, 1)(x)[0, 0, 1:-1, 1:-1]
    scipy = pytest.importorskip("scipy.ndimage")
    assert torch.equal(y, torch.from_numpy(scipy.median_filter(x[0, 0].numpy(), 3))[1:-1, 1:-1])
    kornia = pytest.importorskip("kornia.filters")
    torch.testing.assert_close(y, kornia.median_blur(x, (3, 3))[0, 0, 1:-1, 1:-1])


def test_median_shares_the_gradient_of_two_middle_values() -> None:
    x = torch.tensor([[[[1.0, 2.0], [9.0, 3.0]]]], requires_grad=True)
    Median()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0, 0.5, 0, 0.5]


def test_median_of_large_numbers_does_not_overflow_float16() -> None:
    assert Median()(torch.full((1, 1, 2, 2), 60000.0, dtype=torch.float16)).item() == 60000
