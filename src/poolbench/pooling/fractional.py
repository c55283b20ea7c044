"""Fractional max pooling: a map made smaller by a factor that is no whole number, in regions drawn anew each time."""

from functools import lru_cache
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from poolbench.pooling.native import MOST_PLANS, cell_switches, cells, written
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import layout

Regions = tuple[Tensor, Tensor, int]
"""First and last position of each region of an axis, and the size of the longest."""


class RegionMax(torch.autograd.Function):
    """The maximum between the first and the last position of each region along an axis, and how far into it it lies."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, first: Tensor, last: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        value = x.index_select(axis, first)
        step = torch.zeros_like(value, dtype=torch.uint8)
        for number in range(1, longest):
            candidate = x.index_select(axis, torch.minimum(first + number, last))
            step.masked_fill_((candidate > value) | candidate.isnan(), number)
            value = torch.maximum(value, candidate)
        ctx.save_for_backward(step, first, last)
        ctx.shape, ctx.axis = x.shape, axis
        ctx.mark_non_differentiable(step)
        return value, step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        gradient, (step, first, last) = gradients[0], ctx.saved_tensors
        total = gradient.new_zeros(ctx.shape).contiguous(memory_format=layout(gradient))
        return total.scatter_add(ctx.axis, place(step, ctx.axis, first, last), gradient), None, None, None, None


def place(step: Tensor, axis: int, first: Tensor, last: Tensor) -> Tensor:
    """Positions along an axis, from how far into its region each lies."""
    along = [-1 if number == axis else 1 for number in range(step.dim())]
    return torch.minimum(first.view(along) + step, last.view(along))


def region_max(x: Tensor, rows: Regions, columns: Regions) -> tuple[Tensor, Tensor]:
    """The maximum of each region of a grid, (N, C, H', W'), and the position r·W + c of the first that equals it."""
    rows, columns = ((first.to(x.device), last.to(x.device), longest) for first, last, longest in (rows, columns))
    across, column_step = RegionMax.apply(x, 3, *columns)
    value, row_step = RegionMax.apply(across, 2, *rows)
    row = place(row_step, 2, *rows[:2])
    column = place(column_step, 3, *columns[:2]).gather(2, row)
    return value.contiguous(memory_format=layout(x)), row * x.shape[-1] + column


@register(
    "fractional_max",
    "local",
    title="Fractional max pooling",
    formula="y_i = max of x from a_(i-1) to a_i, or to a_i - 1 where disjoint; a random, steps of ⌊H / H'⌋ or 1 more",
    paper=Paper("Graham", 2014, "Fractional max-pooling", "https://arxiv.org/abs/1412.6071"),
    gradient="all of it to the first maximum of the region; a position that wins twice receives both",
    numbers="negatives as any number; NaN wins",
    shape="H' = max(⌊H / ratio⌋, 1)",
    departs="the paper stays random in evaluation and averages several passes, and its disjoint regions leave the last "
    "row out; torch slides a window of fixed size, draws for every channel apart and stays random in evaluation",
    random=True,
)
class FractionalMax(nn.Module):
    """The maximum of regions of uneven size: (N, C, H, W) to (N, C, H', W'), H' = max(⌊H / ratio⌋, 1).

    Training draws the regions of one batch: where the longer of them lie is any order (random), or follows
    ⌈α (i + u)⌉ with u uniform (pseudorandom). Evaluation takes the pseudorandom regions of u = 1/2. Regions that
    overlap share their border. With `return_indices` the switches come too, as from `max`.

    >>> import torch
    >>> FractionalMax()(torch.zeros(1, 3, 28, 28)).shape
    torch.Size([1, 3, 19, 19])
    """

    def __init__(
        self,
        ratio: float = sqrt(2),
        pseudorandom: bool = True,
        overlapping: bool = True,
        return_indices: bool = False,
    ) -> None:
        super().__init__()
        if not ratio >= 1:
            raise ValueError(f"ratio must be at least 1, got {ratio}: the map becomes so many times smaller")
        self.ratio, self.pseudorandom, self.overlapping = ratio, pseudorandom, overlapping
        self.return_indices = return_indices

    def extra_repr(self) -> str:
        return f"ratio={self.ratio:.4g}, pseudorandom={self.pseudorandom}, overlapping={self.overlapping}"

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        height, width = x.shape[-2:]

        def formula(x: Tensor) -> tuple[Tensor, Tensor]:
            return region_max(x, self.regions(height), self.regions(width))

        def plan() -> tuple[str, str]:
            if self.training:
                return self.told(height), self.told(width)
            return settled(height, self.ratio, self.overlapping), settled(width, self.ratio, self.overlapping)

        tall, wide = self._longest(height), self._longest(width)
        if self.return_indices:
            return cell_switches(x, tall, wide, plan, formula)
        return cells(x, tall, wide, plan, lambda x: formula(x)[0])

    def regions(self, size: int) -> Regions:
        """First and last position of each region of an axis, as drawn for one batch, and the size of the longest."""
        number, length = self._steps(size)
        edges = self._edges(length, number)
        last = edges[1:] if self.overlapping else edges[1:] - 1
        return edges[:-1], last, self._longest(size)

    def _steps(self, size: int) -> tuple[int, int]:
        """How many regions an axis has, and what their steps add up to."""
        return max(int(size / self.ratio), 1), size - 1 if self.overlapping else size

    def _longest(self, size: int) -> int:
        number, length = self._steps(size)
        return -(-length // number) + self.overlapping

    def told(self, size: int) -> str:
        """What a kernel is told of the regions of an axis, as drawn for one batch."""
        first, last, _ = self.regions(size)
        return written(torch.stack([first, last], 1).flatten().tolist())

    def _edges(self, length: int, number: int) -> Tensor:
        """a_0 = 0 to a_number = length, in steps that differ by 1 at most."""
        if self.training and not self.pseudorandom:
            steps = length // number + (torch.randperm(number) < length % number).long()
            return torch.cat([steps.new_zeros(1), steps.cumsum(0)])
        shift = torch.rand((), dtype=torch.float64) if self.training else 0.5
        places = torch.arange(number, dtype=torch.float64)
        edges = ((places + shift) * length / number).ceil()
        return torch.cat([(edges - edges[0]).long(), torch.full((1,), length)])


@lru_cache(MOST_PLANS)
def settled(size: int, ratio: float, overlapping: bool) -> str:
    """What kernels are told of the regions in evaluation, which are always the same.

    >>> settled(6, 1.5, True)
    '0 1 1 3 3 4 4 5'
    """
    return FractionalMax(ratio, overlapping=overlapping).eval().told(size)
