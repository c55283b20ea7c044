"""Separable filters, of which an axis is a matrix with few numbers in a row; the way back is that of it transposed."""

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from poolbench.pooling.native.gpu.windows import launch, places, plan_of
from poolbench.pooling.native.operator import BORDERS


@triton.jit
def _weight(parts, taps, place, live, PLAN: tl.constexpr, TAPS: tl.constexpr):
    """The weight at a place of a table, of its part of every tap."""
    total = tl.full(place.shape, 0, PLAN.real)
    for t in tl.static_range(TAPS):
        part = tl.load(parts + place * TAPS + t, mask=live, other=0).to(PLAN.real)
        total += part * tl.load(taps + t).to(PLAN.real)
    return total


@triton.jit
def _banded(
    x,
    y,
    taps,
    row_places,
    row_parts,
    column_places,
    column_parts,
    lines,
    height,
    width,
    rows,
    columns,
    channels,
    PLAN: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
    TAPS: tl.constexpr,
    LINES: tl.constexpr,
    SIDE: tl.constexpr,
):
    """Each number of `y` from the TALL rows and the WIDE columns of `x` that it is made of, by their parts of taps."""
    place, live, picture, i, j, channel = places(lines, rows, columns, channels, PLAN, LINES, SIDE)
    first = picture * height * width * channels + channel
    total = tl.full(place.shape, 0, PLAN.real)
    for p in tl.static_range(TALL):
        row = tl.load(row_places + i * TALL + p)
        down = _weight(row_parts, taps, i * TALL + p, i < rows, PLAN, TAPS)
        part = tl.full(place.shape, 0, PLAN.real)
        for q in tl.static_range(WIDE):
            column = tl.load(column_places + j * WIDE + q, mask=j < columns, other=-1)
            along = _weight(column_parts, taps, j * WIDE + q, j < columns, PLAN, TAPS)
            source = first + (row * width + column) * channels
            there = live & (row >= 0) & (column >= 0)
            part += tl.load(x + source, mask=there, other=0).to(PLAN.real) * along
        total += part * down
    tl.store(y + place, total.to(y.dtype.element_ty), mask=live)


def banded(x: Tensor, y: Tensor, taps: Tensor, plan: Sequence[int], inner: Sequence[int] | None, back: bool) -> None:
    """A filter, written to `y`: of `x` or, with `inner`, of its windows' means; the way `back` from `y` likewise."""
    height_width = (y if back else x).shape[2:]
    tables: list[Tensor] = []
    for axis, size in enumerate(height_width):
        means = (1, 0, 0, 0, size)
        if inner is not None:
            means = inner[axis], inner[6 + axis], inner[10 + 2 * axis], inner[11 + 2 * axis], inner[8 + axis]
        filtered = plan[axis], plan[2 + axis], plan[15], plan[8 + axis]
        tables += _table(size, *filtered, means, back, taps.dtype, x.device)
    pixels = (1, 1, 1, 1, 1, 1, 0, 0, *y.shape[2:], 0, 0, 0, 0, -1, 0, plan[16])
    sizes = *x.shape[2:], *y.shape[2:], x.shape[1] if plan[16] else 1
    most = {"TALL": tables[0].shape[1], "WIDE": tables[2].shape[1], "TAPS": len(taps)}
    launch(_banded, y, sizes, x, y, taps, *tables, PLAN=plan_of("filter", pixels, 0.0, x, y), **most)


@lru_cache(256)
def _table(
    size: int,
    length: int,
    stride: int,
    border: int,
    outputs: int,
    means: tuple[int, ...],
    back: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Which places along an axis make an output, -1 for none, (H', places); and by how much of each tap, (…, taps).

    The way `back`, which outputs a place goes into. `means`: the windows of which a mean is taken before: how long they
    are, how far before the map they start, the padding before and after it that they count, and how many there are.
    """
    entries = _entries(size, length, stride, BORDERS[border], outputs, means)
    if back:
        entries = [(place, output, tap, part) for output, place, tap, part in entries]
    by_target: list[dict[int, list[tuple[int, float]]]] = [{} for _ in range(size if back else outputs)]
    for target, source, tap, part in entries:
        by_target[target].setdefault(source, []).append((tap, part))
    most = max(1, *map(len, by_target))
    found = torch.full((len(by_target), most), -1, dtype=torch.int32)
    mixture = torch.zeros(len(by_target), most, length, dtype=dtype)
    for target, sources in enumerate(by_target):
        for number, (source, parts) in enumerate(sorted(sources.items())):
            found[target, number] = source
            for tap, part in parts:
                mixture[target, number, tap] += part
    return found.to(device), mixture.to(device)


def _entries(
    size: int, length: int, stride: int, border: str, outputs: int, means: tuple[int, ...]
) -> list[tuple[int, int, int, float]]:
    """Every output of a filter along an axis, a place it is made of, the tap and the part of it."""
    kernel, first, low, high, dense = means
    entries = []
    for output in range(outputs):
        for tap in range(length):
            middle = source(output * stride - (length - 1) // 2 + tap, dense, border)
            if middle is not None:
                window = range(middle - first, middle - first + kernel)
                members = sum(-low <= place < size + high for place in window)
                entries += [(output, place, tap, 1 / members) for place in window if 0 <= place < size]
    return entries


def source(place: int, size: int, border: str) -> int | None:
    """The place of a map of this size that stands for one of the padded map; None is a zero.

    >>> [source(place, 3, "reflect") for place in (-1, 0, 3, 4, 5)]
    [1, 0, 1, 0, 1]
    """
    if border == "replicate":
        return min(max(place, 0), size - 1)
    if border == "circular":
        return place % size
    if border == "reflect":
        period = max(2 * (size - 1), 1)
        return min(place % period, -place % period)
    return place if 0 <= place < size else None
