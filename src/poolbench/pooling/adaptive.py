"""Local operators that are given the size of what comes out: adaptive max and average pooling."""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.pooling.fractional import Regions, region_max
from poolbench.pooling.native import MOST_PLANS, cell_switches, cells, written
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Size, layout, pair

HE = Paper(
    "He, Zhang, Ren, Sun",
    2014,
    "Spatial pyramid pooling in deep convolutional networks for visual recognition",
    "https://arxiv.org/abs/1406.4729",
)
LAW = "H' = output_size, bin i from ⌊i H / H'⌋ to ⌈(i + 1) H / H'⌉"


def bins(size: int, number: int) -> list[tuple[int, int]]:
    """First position of each bin and the one after its last, for so many bins over an axis; they may overlap.

    >>> bins(5, 2)
    [(0, 3), (2, 5)]
    """
    return [(i * size // number, -(-(i + 1) * size // number)) for i in range(number)]


def areas(x: Tensor, size: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """How many positions of a map of this size each bin of a map of this shape holds."""
    rows, columns = (
        x.new_tensor([end - start for start, end in bins(*axis)]) for axis in zip(size, shape, strict=True)
    )
    return rows.outer(columns)


class BinAverage(torch.autograd.Function):
    """The mean of each bin, with a backward that is deterministic where torch's is not, though slower.

    Position h lies in the bins ⌊h H' / H⌋ to ⌈(h + 1) H' / H⌉ - 1: the backward is a sum over bins of the output, so
    it is this operator again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.shape, ctx.size = x.shape[-2:], size
        return F.adaptive_avg_pool2d(x, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        share = gradients[0] / areas(gradients[0], ctx.shape, ctx.size)
        return BinAverage.apply(share, ctx.shape) * areas(share, ctx.size, ctx.shape), None


class BinMax(torch.autograd.Function):
    """The maximum of each bin and where it lies, with a backward that is deterministic where torch's is not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        value, index = F.adaptive_max_pool2d(x, size, return_indices=True)
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        ctx.mark_non_differentiable(index)
        return value, index

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (index,), gradient = ctx.saved_tensors, gradients[0]
        flat = gradient.new_zeros(ctx.shape).flatten(2).scatter_add(2, index.flatten(2), gradient.flatten(2))
        return flat.view(ctx.shape).contiguous(memory_format=layout(gradient)), None


def bin_max(x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The maximum of each bin, (N, C, H', W'), and the position r·W + c of the first that equals it."""
    if torch.compiler.is_exporting():  # ONNX has no adaptive maximum: written out as indexing
        rows, columns = (edges(length, number) for length, number in zip(x.shape[-2:], size, strict=True))
        return region_max(x, rows, columns)
    if torch.are_deterministic_algorithms_enabled():
        return BinMax.apply(x, size)
    return F.adaptive_max_pool2d(x, size, return_indices=True)


@lru_cache(MOST_PLANS)
def grid(size: int, number: int) -> tuple[str, int]:
    """First and last position of each bin of an axis, as kernels are told of them, and the size of the largest.

    >>> grid(5, 2)
    ('0 2 2 4', 3)
    """
    found = bins(size, number)
    return written(place for start, end in found for place in (start, end - 1)), max(
        end - start for start, end in found
    )


def edges(size: int, number: int) -> Regions:
    """The bins of an axis as regions."""
    first, end = torch.tensor(bins(size, number)).T
    return first, end - 1, max(stop - start for start, stop in bins(size, number))


class Adaptive(nn.Module):
    """Base of the operators over bins."""

    def __init__(self, output_size: Size = 7) -> None:
        super().__init__()
        self.size = pair(output_size, "output_size")
        if min(self.size) < 1:
            raise ValueError(f"output_size must be at least 1, got {min(self.size)}")

    def extra_repr(self) -> str:
        return f"output_size={self.size}"


@register(
    "adaptive_average",
    "local",
    title="Adaptive average pooling",
    formula="y_i = the mean of bin i",
    paper=HE,
    gradient="an equal share to every position of the bin; a position in two bins receives both",
    numbers="linear; NaN and ±inf spread to their bins",
    shape=LAW,
    departs="He's windows give 9 bins for 6 over 10 positions; torch's backward is not deterministic on a GPU",
)
class AdaptiveAverage(Adaptive):
    """The mean of each bin of a grid of the size asked for: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> AdaptiveAverage((1, 2))(torch.tensor([[[[1., 2., 6.]]]])).flatten().tolist()
    [1.5, 4.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.are_deterministic_algorithms_enabled():
            return BinAverage.apply(x, self.size)
        return F.adaptive_avg_pool2d(x, self.size)


@register(
    "adaptive_max",
    "local",
    title="Adaptive max pooling",
    formula="y_i = the maximum of bin i",
    paper=HE,
    gradient="all of it to the first maximum of the bin; a position that wins twice receives both",
    numbers="negatives as any number; NaN wins",
    shape=LAW,
    departs="He's windows give 9 bins for 6 over 10 positions; torch's backward is not deterministic on a GPU",
)
class AdaptiveMax(Adaptive):
    """The largest value of each bin of a grid of the size asked for: (N, C, H, W) to (N, C, H', W').

    With `return_indices` the switches come too, as from `max`.

    >>> import torch
    >>> AdaptiveMax((1, 2))(torch.tensor([[[[1., 2., 6.]]]])).flatten().tolist()
    [2.0, 6.0]
    """

    def __init__(self, output_size: Size = 7, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling():  # which takes nothing from a cache
            y, index = bin_max(x, self.size)
            return (y, index) if self.return_indices else y
        (rows, tall), (columns, wide) = (grid(*axis) for axis in zip(x.shape[-2:], self.size, strict=True))
        if self.return_indices:
            return cell_switches(x, tall, wide, lambda: (rows, columns), lambda x: bin_max(x, self.size))
        return cells(x, tall, wide, lambda: (rows, columns), lambda x: bin_max(x, self.size)[0])
