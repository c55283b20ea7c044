from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poolbench import pooling
from poolbench.pooling.window import Local, Padding, Size, Window, layout, pair


def windows(ceil_modes: tuple[bool, ...] = (False, True)) -> st.SearchStrategy[Window]:
    sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))
    return st.builds(
        lambda kernel, stride, part, dilation, ceil: Window.of(
            kernel, stride, (kernel[0] // 2 * part, kernel[1] // 2 * part), dilation, ceil
        ),
        sizes,
        sizes,
        st.integers(0, 1),
        st.tuples(st.integers(1, 2), st.integers(1, 2)),
        st.sampled_from(ceil_modes),
    )


def fitting(window: Window, data: st.DataObject) -> tuple[int, int]:
    """A size of map that the window fits into."""
    assert window.padding is not None
    height, width = (
        data.draw(st.integers(max(1, extent - 2 * border), 9))
        for extent, border in zip(window.extent, window.padding, strict=True)
    )
    return height, width


def test_one_number_stands_for_two() -> None:
    assert pair(3, "kernel_size") == (3, 3)
    assert pair((2, 5), "kernel_size") == (2, 5)


def test_numbers_of_numpy_are_numbers() -> None:
    size: Any = np.int64(2), np.int32(5)
    both = pair(size, "kernel_size")
    assert both == (2, 5)
    assert {type(number) for number in both} == {int}


@pytest.mark.parametrize("size", [(1, 2, 3), (2,), (1.5, 2), True, 2.0, None])
def test_size_is_one_number_or_two(size: Any) -> None:
    with pytest.raises(ValueError, match="stride must be one whole number or two"):
        pair(size, "stride")


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "message"),
    [
        (0, 1, 0, 1, "kernel_size must be at least 1, got 0"),
        (2, 0, 0, 1, "stride must be at least 1, got 0"),
        (2, (1, -1), 0, 1, "stride must be at least 1, got -1"),
        (2, 2, 0, 0, "dilation must be at least 1, got 0"),
        (3, 2, 2, 1, r"padding must be from 0 to half of kernel_size \(3, 3\), got 2"),
        (3, 2, -1, 1, "padding must be from 0 to half"),
        ((1, 4), 2, (1, 0), 1, "padding must be from 0 to half"),
        (3, 2, "valid", 1, "padding must be a number of pixels or 'same', got 'valid'"),
    ],
)
def test_options_out_of_range(kernel: Size, stride: Size, padding: Padding, dilation: Size, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Window.of(kernel, stride, padding, dilation, False)


def test_ceil_mode_and_same_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="ceil_mode adds nothing to padding='same'"):
        Window.of(2, 2, "same", 1, True)


def test_stride_is_the_kernel_by_default() -> None:
    assert Window.of((2, 3), None, 0, 1, False).stride == (2, 3)


def test_map_smaller_than_the_window() -> None:
    with pytest.raises(ValueError, match=r"window is larger than the map: 5 pixels .* against 2 \+ 2·1 of padding"):
        Window.of(3, 2, 1, 2, False).shape(9, 2)


@given(window=windows(), data=st.data())
def test_shape_is_that_of_torch(window: Window, data: st.DataObject) -> None:
    height, width = fitting(window, data)
    assert window.padding is not None
    pooled = torch.nn.functional.max_pool2d(
        torch.zeros(1, 1, height, width),
        window.kernel,
        window.stride,
        window.padding,
        window.dilation,
        window.ceil_mode,
    )
    assert window.shape(height, width) == pooled.shape[-2:]


@given(window=windows(), data=st.data())
def test_views_meet_what_each_window_covers(window: Window, data: st.DataObject) -> None:
    """Against loops: view number r·K + c holds, for every window, the position at row r and column c of its kernel."""
    height, width = fitting(window, data)
    x = torch.arange(1.0, height * width + 1).reshape(height, width)
    views = window.views(window.pad(x, 0))
    assert window.padding is not None
    for number, (row, column) in enumerate(np.ndindex(*window.kernel)):
        for i, j in np.ndindex(*window.shape(height, width)):
            y = i * window.stride[0] + row * window.dilation[0] - window.padding[0]
            z = j * window.stride[1] + column * window.dilation[1] - window.padding[1]
            inside = 0 <= y < height and 0 <= z < width
            assert views[number][i, j] == (x[y, z] if inside else 0)


def test_views_copy_nothing() -> None:
    window, x = Window.of(2, 2, 0, 1, False), torch.zeros(1, 1, 4, 4)
    assert all(view.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() for view in window.views(x))


@given(window=windows(), data=st.data(), last=st.booleans())
def test_scatter_is_the_adjoint_of_views(window: Window, data: st.DataObject, last: bool) -> None:
    """⟨views(x), parts⟩ = ⟨x, scatter(parts)⟩, in the layout of the gradient that came in."""
    height, width = fitting(window, data)
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    memory = torch.channels_last if last else torch.contiguous_format
    views = window.views(window.pad(x, 0))
    parts = [torch.randn_like(view).contiguous(memory_format=memory) for view in views]
    back = window.scatter(parts, x.shape, parts[0])
    assert back.shape == x.shape
    there = sum(float((view * part).sum()) for view, part in zip(views, parts, strict=True))
    assert there == pytest.approx(float((x * back).sum()), abs=1e-9)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after", "count"),
    [
        (4, 3, 2, 0, 1, 2),
        (5, 3, 2, 1, 1, 3),
        (5, 2, 1, 0, 1, 5),
        (7, 1, 3, 0, 0, 3),
        (1, 4, 2, 1, 2, 1),
        (6, 5, 3, 1, 1, 2),
    ],
)
def test_same_padding_is_that_of_tensorflow(
    size: int, kernel: int, stride: int, before: int, after: int, count: int
) -> None:
    """⌈H / s⌉ windows; the odd pixel of padding comes last, and pixels that no window meets are cut off."""
    window = Window.of(kernel, stride, "same", 1, False)
    assert window.shape(size, size) == (count, count)
    unused = size - 1 - (size - 1) // stride * stride if kernel < stride else 0
    assert window.border(size, size) == (before, after - unused, before, after - unused)


def test_same_padding_differs_from_padding_by_one() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    same, one = Window.of(3, 2, "same", 1, False), Window.of(3, 2, 1, 1, False)
    assert same.views(same.pad(x, 0))[0].flatten().tolist() == [0, 2, 8, 10]
    assert one.views(one.pad(x, 0))[0].flatten().tolist() == [0, 0, 0, 5]


def test_layout() -> None:
    x = torch.zeros(2, 3, 4, 5)
    assert layout(x) == torch.contiguous_format
    assert layout(x.contiguous(memory_format=torch.channels_last)) == torch.channels_last
    assert layout(torch.zeros(2, 1, 4, 5)) == torch.contiguous_format


def test_local_prints_its_window() -> None:
    assert repr(Local(3, 2, "same")) == "Local(kernel_size=(3, 3), stride=(2, 2), padding=same, ceil_mode=False)"


WINDOWED = [name for name in pooling.names("local") if "kernel_size" in pooling.spec(name).options and name != "s3"]
"""That one draws rows of cells as large as its stride."""


@pytest.mark.parametrize("name", WINDOWED)
def test_a_stride_far_beyond_the_map(name: str, backend: None) -> None:
    """Costs what one to the end of the map does: kernels sort columns by it."""
    x, made = torch.rand(1, 4, 9, 8, requires_grad=True), []
    for stride in ((2**30, 2**27), (16, 16)):
        torch.manual_seed(0)
        y = pooling.create(name, 4, kernel_size=2, stride=stride)(x)
        made.append((y, *torch.autograd.grad(y.sum(), x)))
    for far, near in zip(*made, strict=True):
        assert torch.equal(far, near)
