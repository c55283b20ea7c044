"""Local operators with nothing to learn and nothing to draw: max and its inverse, average, median, subsampling."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.pooling import native
from poolbench.pooling.native import slide
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Padding, Size, Window, layout, wide

LENET = Paper(
    "LeCun et al.",
    1998,
    "Gradient-based learning applied to document recognition",
    "https://doi.org/10.1109/5.726791",
)
ALEXNET = Paper(
    "Krizhevsky, Sutskever, Hinton",
    2012,
    "ImageNet classification with deep convolutional neural networks",
    "https://papers.nips.cc/paper/4824",
)
SCHERER = Paper(
    "Scherer, Müller, Behnke",
    2010,
    "Evaluation of pooling operations in convolutional architectures for object recognition",
    "https://doi.org/10.1007/978-3-642-15825-4_10",
)


@register(
    "max",
    "local",
    title="Max pooling",
    formula="y = max_k x_k",
    paper=SCHERER,
    gradient="all of it to the first maximum of the window",
    numbers="negatives as any number; NaN wins; padding counts as -inf, which only wins where there is nothing else",
)
class Max(Local):
    """The largest value of each window: (N, C, H, W) to (N, C, H', W').

    With `return_indices` the switches come too: the position r·W + c of each maximum in its map, as int64; `unpool`
    takes them.

    >>> import torch
    >>> Max(2)(torch.tensor([[[[1., 2.], [4., 3.]]]])).item()
    4.0
    """

    def __init__(
        self,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return switches(x, self.window) if self.return_indices else maximum(x, self.window)


def maximum(x: Tensor, window: Window) -> Tensor:
    """The largest value of each window: (N, C, H, W) to (N, C, H', W')."""
    return slide("max", x, window, lambda x: _maximum(x, window))


def _maximum(x: Tensor, window: Window) -> Tensor:
    window.shape(*x.shape[-2:])
    if known := _known(window):
        return F.max_pool2d(x, *known)
    if max(window.border(*x.shape[-2:])) <= 0:
        return F.max_pool2d(x, window.kernel, window.stride, 0, window.dilation)
    # Torch's padding is symmetric, and of a dilated window that meets it alone torch points out of the map.
    _, index = _switches(x, window)
    rows, columns = window.covered(x.shape[-2:], padding=False)
    inside = torch.tensor(rows, device=x.device).outer(torch.tensor(columns, device=x.device)) > 0
    return _taken(x, index).where(inside, float("-inf"))


def _known(window: Window) -> tuple[Any, ...]:
    """The window in torch's terms; nothing where torch would pad otherwise or, dilated, point out of the map."""
    if window.padding is None or window.dilation != (1, 1):
        return ()
    return window.kernel, window.stride, window.padding, 1, window.ceil_mode


def _taken(x: Tensor, index: Tensor) -> Tensor:
    """The values of a map at these positions, in its layout."""
    size = index.shape[-2:]
    if layout(x) == torch.contiguous_format:
        return x.flatten(-2).gather(-1, index.flatten(-2)).unflatten(-1, size)
    pixels, places = (each.permute(0, 2, 3, 1).flatten(1, 2) for each in (x, index))
    return pixels.gather(1, places).unflatten(1, size).permute(0, 3, 1, 2)


def switches(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """The largest value of each window, and the position r·W + c in the map of the first that equals it."""
    return native.switches(x, window, lambda x: _switches(x, window))


def _switches(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    height, width = x.shape[-2:]
    window.shape(height, width)
    if known := _known(window):
        return F.max_pool2d(x, *known, return_indices=True)
    left, right, top, _ = window.border(height, width)
    padded = window.pad(x, float("-inf"))
    value, index = F.max_pool2d(padded, window.kernel, window.stride, 0, window.dilation, return_indices=True)
    row = _in_map(index // (left + width + right) - top, window.dilation[0], height)
    column = _in_map(index % (left + width + right) - left, window.dilation[1], width)
    return value, row * width + column


def _in_map(place: Tensor, step: int, size: int) -> Tensor:
    """Of a window that holds nothing above -inf, and points to its start in the padding, the first place in the map."""
    return torch.where(place < 0, place % step, place).clamp(max=size - 1)


def unpool(y: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value put back where its maximum was, zeros elsewhere: (N, C, H', W') to (N, C, H, W) of this size.

    Where two windows chose the same position, one of their values stays. Source: Zeiler, Taylor, Fergus, 2011,
    Adaptive deconvolutional networks for mid and high level feature learning.

    >>> import torch
    >>> y, indices = Max(2, return_indices=True)(torch.tensor([[[[1., 2.], [4., 3.]]]]))
    >>> unpool(y, indices, (2, 2)).tolist()
    [[[[0.0, 0.0], [4.0, 0.0]]]]
    """
    if y.shape != indices.shape:
        raise ValueError(f"unpool needs one index for each value, got {tuple(indices.shape)} for {tuple(y.shape)}")
    height, width = size
    flat = y.new_zeros(*y.shape[:-2], height * width).scatter(-1, indices.flatten(-2), y.flatten(-2))
    return flat.unflatten(-1, (height, width)).contiguous(memory_format=layout(y))


@register(
    "overlapping_max",
    "local",
    title="Overlapping max pooling",
    formula="y = max_k x_k, windows 3x3 at stride 2",
    paper=ALEXNET,
    gradient="all of it to the first maximum of the window; a position that wins twice receives both",
    numbers="as max",
    departs="AlexNet pads nothing; padding 1 is the default here, so that an even map is halved as by the others",
)
class OverlappingMax(Max):
    """Max pooling whose windows overlap: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> OverlappingMax()(torch.zeros(1, 3, 28, 28)).shape
    torch.Size([1, 3, 14, 14])
    """

    def __init__(
        self,
        kernel_size: Size = 3,
        stride: Size | None = 2,
        padding: Padding = 1,
        dilation: Size = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@register(
    "average",
    "local",
    title="Average pooling",
    formula="y = 1/k² Σ_k x_k",
    paper=LENET,
    gradient="an equal share to every position of the window",
    numbers="linear; NaN and ±inf spread to their windows",
)
class Average(Local):
    """The mean of each window: (N, C, H, W) to (N, C, H', W').

    Padding counts as zeros unless `count_include_pad` is false; the cells that `ceil_mode` adds never count.

    >>> import torch
    >>> Average(2)(torch.tensor([[[[1., 2.], [4., 3.]]]])).item()
    2.5
    """

    def __init__(
        self,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        return average(x, self.window, self.count_include_pad)


def average(x: Tensor, window: Window, count_include_pad: bool = True) -> Tensor:
    """The mean of each window, whose dilation is 1: (N, C, H, W) to (N, C, H', W')."""
    return slide("average", x, window, lambda x: _average(x, window, count_include_pad), counted=count_include_pad)


def _average(x: Tensor, window: Window, count_include_pad: bool) -> Tensor:
    if window.padding is None:
        mean = F.avg_pool2d(window.pad(x, 0), window.kernel, window.stride)
        if count_include_pad:
            return mean
        return mean / F.avg_pool2d(window.pad(x.new_ones(x.shape[-2:])[None], 0), window.kernel, window.stride)
    window.shape(*x.shape[-2:])
    return F.avg_pool2d(x, window.kernel, window.stride, window.padding, window.ceil_mode, count_include_pad)


@register(
    "overlapping_average",
    "local",
    title="Overlapping average pooling",
    formula="y = 1/k² Σ_k x_k, windows 3x3 at stride 2",
    paper=ALEXNET,
    gradient="an equal share to every position of the window; a position in two windows receives both",
    numbers="as average",
    departs="AlexNet overlaps max pooling and pads nothing; padding 1, left out of the mean, halves an even map",
)
class OverlappingAverage(Average):
    """Average pooling whose windows overlap: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> OverlappingAverage()(torch.zeros(1, 3, 28, 28)).shape
    torch.Size([1, 3, 14, 14])
    """

    def __init__(
        self,
        kernel_size: Size = 3,
        stride: Size | None = 2,
        padding: Padding = 1,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)


def exchanges(number: int) -> Iterator[tuple[int, int]]:
    """Pairs of places to put in order, one after another, that sort so many values whatever they are.

    >>> list(exchanges(3))
    [(0, 1), (1, 2), (0, 1)]
    """
    for turn in range(number):
        for place in range(turn % 2, number - 1, 2):
            yield place, place + 1


class Middle(torch.autograd.Function):
    """The median of each window; the two middle values are found again in the input for the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> Tensor:
        ordered = window.views(window.pad(x, float("inf")))
        for low, high in exchanges(len(ordered)):
            pair = ordered[low], ordered[high]
            ordered[low], ordered[high] = torch.minimum(*pair), torch.maximum(*pair)
        lower = upper = torch.zeros_like(ordered[0])
        rows, columns = window.covered(x.shape[-2:], padding=False)
        members = torch.tensor(rows, device=x.device).outer(torch.tensor(columns, device=x.device))
        for number in sorted({height * width for height in rows for width in columns} - {0}):
            lower = torch.where(members == number, ordered[(number - 1) // 2], lower)
            upper = torch.where(members == number, ordered[number // 2], upper)
        ctx.save_for_backward(x, lower, upper)
        ctx.window = window
        return ((wide(lower) + wide(upper)) / 2).to(x.dtype, memory_format=layout(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (x, lower, upper) = gradients, ctx.saved_tensors
        half = gradient / 2
        parts = []
        sought = [torch.ones_like(lower, dtype=torch.bool), torch.ones_like(upper, dtype=torch.bool)]
        for view in ctx.window.views(ctx.window.pad(x, float("nan"))):
            found = [still & (view == middle) for still, middle in zip(sought, (lower, upper), strict=True)]
            sought = [still & ~here for still, here in zip(sought, found, strict=True)]
            parts.append(half.where(found[0], 0) + half.where(found[1], 0))
        return ctx.window.scatter(parts, x.shape, gradient), None


@register(
    "median",
    "local",
    title="Median pooling",
    formula="y = the middle of the sorted x_k, the mean of the two middle ones where their number is even",
    paper=Paper(
        "Tukey",
        1971,
        "Exploratory data analysis",
        "https://archive.org/details/exploratorydataa0000tuke_7616",
    ),
    gradient="all of it to the first position that holds the median; half each to those of two middle values",
    numbers="negatives and ±inf as any number; NaN wins; padding never counts, and a window of it alone gives 0",
    departs="torch and kornia take the lower of two middle values, scipy the upper; kornia's padding counts as zeros",
)
class Median(Local):
    """The median of each window: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> Median(2)(torch.tensor([[[[1., 2.], [9., 3.]]]])).item()
    2.5
    """

    def forward(self, x: Tensor) -> Tensor:
        return slide("median", x, self.window, lambda x: Middle.apply(x, self.window))


@register(
    "subsample",
    "local",
    title="Subsampling (plain stride)",
    formula="y = x_c, c the centre of the window",
    paper=LENET,
    gradient="all of it to the position that was kept",
    numbers="copies what it keeps; a centre that lies in the padding gives 0",
)
class Subsample(Local):
    """One position of each window, its centre (⌊(k - 1) / 2⌋): (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> Subsample(2)(torch.arange(16.).reshape(1, 1, 4, 4)).flatten().tolist()
    [0.0, 2.0, 8.0, 10.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        (rows, columns), window = self.window.kernel, self.window
        centre = (rows - 1) // 2 * columns + (columns - 1) // 2
        return slide("subsample", x, window, lambda x: _centre(x, window), centre=centre)


def _centre(x: Tensor, window: Window) -> Tensor:
    left, right, top, bottom = window.border(*x.shape[-2:])
    above, before = ((size - 1) // 2 * spread for size, spread in zip(window.kernel, window.dilation, strict=True))
    below, after = (extent - 1 - past for extent, past in zip(window.extent, (above, before), strict=True))
    borders = left - before, right - after, top - above, bottom - below
    # First what is added: centres may all lie in the padding, and be the only places left.
    centred = F.pad(F.pad(x, [max(border, 0) for border in borders]), [min(border, 0) for border in borders])
    return F.avg_pool2d(centred, 1, window.stride)  # unlike a strided slice, keeps the gradient's layout
