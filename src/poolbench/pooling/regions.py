"""Region operators: a map (N, C, H, W) and boxes to one grid a box; what runs on a map once serves all its boxes.

Boxes (K, 5) hold a picture's number in the batch, then x1, y1, x2, y2 in pixels of the picture; `spatial_scale` is how
many pixels of the map a pixel of the picture is. No gradient reaches the boxes.
"""

from abc import ABC, abstractmethod
from functools import reduce
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.pooling.native import region_maxima
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.transforms import transformable
from poolbench.pooling.window import Size, layout, pair, wide

Taps = tuple[Tensor, Tensor]
"""Along an axis, for every cell of every box: positions of the map (K, cells, taps) and their weights."""
LAW = "(K, C, H', W') for K boxes, (H', W') = output_size"


class WeightedRows(torch.autograd.Function):
    """Sums of weighted rows: (M, C), index (B, T) and weight (B, T) to (B, C)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(index, weight)
        ctx.number = len(rows)
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return RowsSpread.apply(gradients[0], *ctx.saved_tensors, ctx.number), None, None


class RowsSpread(torch.autograd.Function):
    """The way back, (B, C) to (M, C): the index sorted, it is again a sum of weighted rows.

    So it is deterministic, and takes nothing of size B·T·C.
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, index: Tensor, weight: Tensor, number: int) -> Tensor:
        ctx.save_for_backward(index, weight)
        row, order = index.flatten().sort(stable=True)
        starts = torch.searchsorted(row, torch.arange(number, device=row.device))
        cell, weight = order // index.shape[1], weight.flatten()[order]
        return F.embedding_bag(cell, sums, starts, mode="sum", per_sample_weights=weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return WeightedRows.apply(gradients[0], *ctx.saved_tensors), None, None, None


@transformable
def weighted_rows(rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """`WeightedRows`, however it is transformed."""
    result: Tensor = WeightedRows.apply(rows, index, weight)
    return result


class Region(nn.Module):
    """Base of the region operators."""

    def __init__(self, output_size: Size, spatial_scale: float) -> None:
        super().__init__()
        self.size = pair(output_size, "output_size")
        if min(self.size) < 1:
            raise ValueError(f"output_size must be at least 1, got {min(self.size)}")
        if not 0 < spatial_scale < inf:
            raise ValueError(f"spatial_scale must be above 0 and finite, got {spatial_scale}")
        self.spatial_scale = spatial_scale

    def scaled(self, boxes: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """The picture of each box (K,), and its first and last (y, x) in pixels of the map, both (2, K, 1)."""
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ValueError(f"boxes must be (K, 5): picture, x1, y1, x2, y2; got shape {tuple(boxes.shape)}")
        boxes = boxes.detach()
        edges = boxes[:, 1:].to(dtype).T.unsqueeze(2) * self.spatial_scale
        return boxes[:, 0].long(), edges[:2].flip(0), edges[2:].flip(0)

    def extra_repr(self) -> str:
        return f"output_size={self.size}, spatial_scale={self.spatial_scale}"


class Sampled(Region, ABC):
    """Base of those that interpolate: each cell is a weighted sum of the map's positions."""

    @abstractmethod
    def taps(self, first: Tensor, last: Tensor, cells: int, length: int) -> Taps:
        """The taps along an axis of this length, for boxes from `first` to `last`, both (K, 1)."""

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        maps = wide(x).permute(0, 2, 3, 1)
        number, first, last = self.scaled(boxes, maps.dtype)
        (row, height), (column, width) = map(self.taps, first, last, self.size, x.shape[2:])
        # (K, H', W', taps, taps): the row of `maps` that each tap is, and its weight.
        index = (number.view(-1, 1, 1) * x.shape[2] + row)[:, :, None, :, None] * x.shape[3] + column[:, None, :, None]
        weight = height[:, :, None, :, None] * width[:, None, :, None]
        cells = weighted_rows(maps.flatten(0, 2), index.flatten(3).flatten(0, 2), weight.flatten(3).flatten(0, 2))
        grid = cells.view(len(boxes), *self.size, x.shape[1]).permute(0, 3, 1, 2)
        return grid.to(x.dtype).contiguous(memory_format=layout(x))


def bilinear(position: Tensor, inside: Tensor, length: int) -> Taps:
    """Two taps for each position (K, ...); a position that is not `inside` weighs nothing."""
    position = position.clamp(0, length - 1)
    low = position.floor()
    share = position - low
    index = torch.stack([low, (low + 1).clamp(max=length - 1)], -1).long()
    return index, torch.stack([1 - share, share], -1) * inside.unsqueeze(-1)


@register(
    "roi_align",
    "region",
    title="RoI align",
    formula="y_ij = 1/s² Σ of s x s bilinear samples, evenly spread over the cell",
    paper=Paper("He, Gkioxari, Dollár, Girshick", 2017, "Mask R-CNN", "https://arxiv.org/abs/1703.06870"),
    gradient="to the four neighbours of each sample, by its weights; none to the boxes",
    numbers="linear; NaN and ±inf spread to every cell that a sample beside them serves",
    shape=LAW,
    departs="torchvision takes aligned=False by default, and with sampling_ratio=-1 as many samples as a box is large",
)
class RoIAlign(Sampled):
    """The mean of bilinear samples in each cell of a box: (N, C, H, W) and boxes (K, 5) to (K, C, H', W').

    `aligned` puts the centre of a pixel at half of it, which is exact on linear ramps; without it boxes are displaced
    by half a pixel and are one pixel large at least. A sample more than a pixel beyond the map counts as 0.

    >>> import torch
    >>> x = torch.arange(4.).expand(1, 1, 4, 4)
    >>> RoIAlign(2)(x, torch.tensor([[0., 1., 1., 3., 3.]])).flatten().tolist()
    [1.0, 2.0, 1.0, 2.0]
    """

    def __init__(
        self, output_size: Size = 7, spatial_scale: float = 1.0, sampling_ratio: int = 2, aligned: bool = True
    ) -> None:
        super().__init__(output_size, spatial_scale)
        if sampling_ratio < 1:
            raise ValueError(f"sampling_ratio must be at least 1, got {sampling_ratio}")
        self.sampling_ratio, self.aligned = sampling_ratio, aligned

    def taps(self, first: Tensor, last: Tensor, cells: int, length: int) -> Taps:
        side = last - first if self.aligned else (last - first).clamp(min=1)
        samples = self.sampling_ratio * cells
        step = (torch.arange(samples, device=side.device, dtype=side.dtype) + 0.5) / samples
        position = first - 0.5 * self.aligned + side * step
        index, weight = bilinear(position, (position >= -1) & (position <= length), length)
        taps = (len(first), cells, 2 * self.sampling_ratio)
        return index.view(taps), weight.view(taps) / self.sampling_ratio

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"


@register(
    "crop_and_resize",
    "region",
    title="Crop and resize",
    formula="y_ij = the bilinear sample at (y1 + i (y2 - y1) / (H' - 1), x1 + j (x2 - x1) / (W' - 1))",
    paper=Paper(
        "Huang et al.",
        2017,
        "Speed/accuracy trade-offs for modern convolutional object detectors",
        "https://arxiv.org/abs/1611.10012",
    ),
    gradient="to the four neighbours of the sample, by its weights; none to the boxes",
    numbers="linear; NaN and ±inf spread to every cell whose sample lies beside them",
    shape=LAW,
    departs="TensorFlow counts boxes in fractions of H - 1 and W - 1, and gives them a gradient",
)
class CropAndResize(Sampled):
    """One bilinear sample a cell, corner to corner of a box: (N, C, H, W) and boxes (K, 5) to (K, C, H', W').

    Whole numbers are centres of pixels; a single cell samples the middle; what lies beyond the map counts as 0.

    >>> import torch
    >>> x = torch.arange(4.).expand(1, 1, 4, 4)
    >>> CropAndResize(2)(x, torch.tensor([[0., 1., 1., 3., 3.]])).flatten().tolist()
    [1.0, 3.0, 1.0, 3.0]
    """

    def __init__(self, output_size: Size = 7, spatial_scale: float = 1.0) -> None:
        super().__init__(output_size, spatial_scale)

    def taps(self, first: Tensor, last: Tensor, cells: int, length: int) -> Taps:
        step = torch.linspace(0, 1, cells, device=first.device, dtype=first.dtype) if cells > 1 else 0.5
        position = first + (last - first) * step
        return bilinear(position, (position >= 0) & (position <= length - 1), length)


def spans(first: Tensor, last: Tensor, cells: int, length: int) -> Tensor:
    """First position of each cell of the boxes and the one after its last: (K, 1) and (K, 1) to (2, K, cells)."""
    first, last = (edge.add(0.5 * edge.sign()).trunc().long() for edge in (first, last))  # halves go away from 0
    side = (last - first + 1).clamp(min=1)
    number = torch.arange(cells, device=side.device)
    start, end = number * side // cells, -(-(number + 1) * side // cells)
    return torch.stack([first + start, first + end]).clamp(0, length)


def ranked(x: Tensor) -> tuple[Tensor, Tensor]:
    """The position of each channel's values, the largest first (N, C, HW), and their ranks by position (N, H, W, C)."""
    order = x.flatten(2).argsort(dim=2, descending=True)
    ranks = torch.arange(order.shape[2], device=x.device).expand_as(order)
    return order, torch.zeros_like(order).scatter(2, order, ranks).int().view(x.shape).permute(0, 2, 3, 1)


def doubled(maps: Tensor, axis: int, lengths: Tensor) -> list[Tensor]:
    """Minima over 1, 2, 4, ... positions along an axis from each position on, up to the longest of these lengths."""
    limit = maps.shape[axis]
    if len(lengths) and not torch.compiler.is_compiling():  # a compiled graph cannot depend on the boxes
        limit = int(lengths.max())
    levels, half = [maps], 1
    while 2 * half <= limit:
        short, length = levels[-1], maps.shape[axis] - half
        both = torch.minimum(short.narrow(axis, 0, length), short.narrow(axis, half, length))
        levels.append(torch.cat([both, short.narrow(axis, length, half)], axis))
        half *= 2
    return levels


def cover(spans: Tensor, levels: int, length: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The level whose windows are the largest that fit into each cell, and where the two that cover it begin."""
    (start, end), sides = spans, 2 ** torch.arange(levels, device=spans.device)
    level = ((end - start).unsqueeze(-1) >= sides).sum(-1).sub(1).clamp(min=0)
    return level, (start.clamp(max=length - 1), (end - sides[level]).clamp(0, length - 1))


def least(maps: Tensor, number: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """The minimum of each cell, given by its spans (2, K, H') and (2, K, W'), of maps (N, H, W, C): (K, H', W', C).

    Four windows whose sides are powers of two cover any cell: one look-up each, however large the cell.
    """
    pictures, height, width, channels = maps.shape
    by_rows = doubled(maps, 1, vertical[1] - vertical[0])
    table = [doubled(level, 2, horizontal[1] - horizontal[0]) for level in by_rows]
    row_level, rows = cover(vertical, len(table), height)
    column_level, columns = cover(horizontal, len(table[0]), width)
    plane = (row_level[:, :, None] * len(table[0]) + column_level[:, None]) * pictures + number.view(-1, 1, 1)
    windows = torch.stack([level for levels in table for level in levels]).flatten(0, 3)
    index = ((plane * height + row[:, :, None]) * width + column[:, None] for row in rows for column in columns)
    minimum = reduce(torch.minimum, (windows.index_select(0, each.flatten()) for each in index))
    return minimum.view(*plane.shape, channels)


def highest(x: Tensor, number: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Where a maximum of each cell lies in the flattened maps: (K, H', W', C)."""
    order, ranks = ranked(x)
    # The least rank of a cell is one position, whichever of the overlapping windows find it.
    rank = least(ranks, number, vertical, horizontal)
    start = ((number[:, None] * x.shape[1] + torch.arange(x.shape[1], device=x.device)) * order.shape[2])[:, None, None]
    return start + order.flatten().gather(0, (start + rank).flatten()).view(rank.shape)


@register(
    "roi_pool",
    "region",
    title="RoI pooling",
    formula="y_ij = max over the cell from ⌊i h / H'⌋ to ⌈(i + 1) h / H'⌉ of a box of h whole pixels, ends included",
    paper=Paper("Girshick", 2015, "Fast R-CNN", "https://arxiv.org/abs/1504.08083"),
    gradient="all of it to one maximum of the cell; none to the boxes",
    numbers="negatives as any number; NaN wins; a cell beyond the map gives 0",
    shape=LAW,
    departs="torchvision cuts cells in float32, where ⌈11 · 29/11⌉ is 30, and passes over NaN",
)
class RoIPool(Region):
    """The largest value in each cell of a box, quantised twice: (N, C, H, W) and boxes (K, 5) to (K, C, H', W').

    Edges are rounded to whole pixels, the last one included; cells take every pixel that they touch.

    >>> import torch
    >>> x = torch.arange(16.).view(1, 1, 4, 4)
    >>> RoIPool(2)(x, torch.tensor([[0., 0.4, 0., 2.6, 3.]])).flatten().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """

    def __init__(self, output_size: Size = 7, spatial_scale: float = 1.0) -> None:
        super().__init__(output_size, spatial_scale)

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        number, first, last = self.scaled(boxes, wide(x).dtype)
        rows, columns = map(spans, first, last, self.size, x.shape[2:])
        place = region_maxima(x.detach(), number, rows, columns, highest)
        grid = wide(x).flatten().gather(0, place.flatten()).view(place.shape)
        empty = (rows[1] <= rows[0])[:, :, None] | (columns[1] <= columns[0])[:, None]
        grid = grid.masked_fill(empty.unsqueeze(3), 0).permute(0, 3, 1, 2)
        return grid.to(x.dtype).contiguous(memory_format=layout(x))
