"""The maxima of a grid's cells, whose edges are given row by row and column by column."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from poolbench.pooling.native import fakes
from poolbench.pooling.native.gpu.operators import largest
from poolbench.pooling.native.gpu.windows import NONE, Plan, launch, places, plan_of
from poolbench.pooling.native.plan import numbers_of


@triton.jit
def _cell(picture, i, j, channel, live, row_edges, column_edges, height, width, columns, channels):
    """The cells in rows `i` and columns `j`, as windows that end where they do."""
    top, bottom = tl.load(row_edges + 2 * i), tl.load(row_edges + 2 * i + 1)
    left = tl.load(column_edges + 2 * j, mask=j < columns, other=0)
    right = tl.load(column_edges + 2 * j + 1, mask=j < columns, other=0)
    plane = picture * channels + channel + j * 0
    first = plane + picture * (height * width - 1) * channels
    return first, top, left, bottom, right, width * channels, channels, live, plane


@triton.jit
def _forward(
    x,
    y,
    position,
    index,
    row_edges,
    column_edges,
    lines,
    height,
    width,
    rows,
    columns,
    channels,
    PLAN: tl.constexpr,
    LINES: tl.constexpr,
    SIDE: tl.constexpr,
):
    place, live, picture, i, j, channel = places(lines, rows, columns, channels, PLAN, LINES, SIDE)
    at = _cell(picture, i, j, channel, live, row_edges, column_edges, height, width, columns, channels)
    top, chosen, _ = largest(x, at, PLAN)
    tl.store(y + place, top.to(y.dtype.element_ty), mask=live)
    if position is not None:
        tl.store(position + place, chosen.to(tl.uint8), mask=live)
    if index is not None:
        row, column = at[1] + chosen // PLAN.kw, at[2] + chosen % PLAN.kw
        tl.store(index + place, row.to(tl.int64) * width + column, mask=live)


@triton.jit
def _taken(
    x,
    y,
    position,
    row_edges,
    column_edges,
    lines,
    height,
    width,
    rows,
    columns,
    channels,
    PLAN: tl.constexpr,
    LINES: tl.constexpr,
    SIDE: tl.constexpr,
):
    """What the input holds where each cell's maximum was."""
    place, live, picture, i, j, channel = places(lines, rows, columns, channels, PLAN, LINES, SIDE)
    first, top, left, _, _, down, right, _, _ = _cell(
        picture, i, j, channel, live, row_edges, column_edges, height, width, channels
    )
    t = tl.load(position + place, mask=live, other=0).to(tl.int32)
    source = first + (top + t // PLAN.kw) * down + (left + t % PLAN.kw) * right
    tl.store(y + place, tl.load(x + source, mask=live, other=0), mask=live)


@triton.jit
def _backward(
    g,
    to,
    position,
    row_edges,
    column_edges,
    rows_of,
    columns_of,
    lines,
    height,
    width,
    rows,
    columns,
    channels,
    PLAN: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
    LINES: tl.constexpr,
    SIDE: tl.constexpr,
):
    """The gradient of the input, from the cells that hold each of its numbers: TALL rows of them and WIDE columns."""
    place, live, picture, row, column, channel = places(lines, height, width, channels, PLAN, LINES, SIDE)
    above, below = tl.load(rows_of + 2 * row), tl.load(rows_of + 2 * row + 1)
    before = tl.load(columns_of + 2 * column, mask=column < width, other=0)
    after = tl.load(columns_of + 2 * column + 1, mask=column < width, other=0)
    total = tl.full(place.shape, 0, PLAN.real)
    for q in tl.range(TALL * WIDE):
        i, j = above + q // WIDE, before + q % WIDE
        holds = live & (i < below) & (j < after)
        top = tl.load(row_edges + 2 * i, mask=i < rows, other=0)
        left = tl.load(column_edges + 2 * j, mask=j < columns, other=0)
        cell = ((picture * rows + i) * columns + j) * channels + channel
        chosen = tl.load(position + cell, mask=holds, other=NONE).to(tl.int32)
        given = tl.load(g + cell, mask=holds, other=0).to(PLAN.real)
        total += tl.where(chosen == (row - top) * PLAN.kw + column - left, given, 0)
    tl.store(to + place, total.to(to.dtype.element_ty), mask=live)


def cells(x: Tensor, rows: str, columns: str, last: bool, keep: bool) -> tuple[Tensor, Tensor]:
    """The maximum of each cell, (N, C, H, W) to (N, C, H', W'), and what the backward pass keeps of it."""
    y, position = fakes.cells_on_gpu(x, rows, columns, last, keep)
    _find(x, y, position if len(position) else None, None, rows, columns, last)
    return y, position


def cell_switches(x: Tensor, rows: str, columns: str, last: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The same, and where in the map each maximum lies."""
    y, position = fakes.cells_on_gpu(x, rows, columns, last, keep=True)
    index = torch.empty_like(y, dtype=torch.int64)
    _find(x, y, position, index, rows, columns, last)
    return y, position, index


def _find(
    x: Tensor, y: Tensor, position: Tensor | None, index: Tensor | None, rows: str, columns: str, last: bool
) -> None:
    tables = _tables(x, rows, columns)
    plan = _plan(x, y, rows, columns, last)
    launch(_forward, y, _sizes(x, y, last), x, y, position, index, *tables[:2], PLAN=plan)


def cells_taken(x: Tensor, position: Tensor, rows: str, columns: str, last: bool) -> Tensor:
    """What the input holds where each cell's maximum was: (N, C, H', W')."""
    y = fakes.cells_taken(x, position, rows, columns, last)
    tables = _tables(x, rows, columns)
    launch(_taken, y, _sizes(x, y, last), x, y, position, *tables[:2], PLAN=_plan(x, y, rows, columns, last))
    return y


def cells_backward(g: Tensor, position: Tensor, rows: str, columns: str, height: int, width: int, last: bool) -> Tensor:
    """The gradient of the input (N, C, H, W), from that of the maxima."""
    to = fakes.cells_backward(g, position, rows, columns, height, width, last)
    *tables, tall, wide = _tables(to, rows, columns)
    plan = _plan(to, g, rows, columns, last)
    launch(_backward, to, _sizes(to, g, last), g, to, position, *tables, PLAN=plan, TALL=tall, WIDE=wide)
    return to


def _sizes(x: Tensor, y: Tensor, last: bool) -> tuple[int, ...]:
    return *x.shape[2:], *y.shape[2:], x.shape[1] if last else 1


def _plan(x: Tensor, y: Tensor, rows: str, columns: str, last: bool) -> Plan:
    """A cell is a window as large as the largest, beyond which some end: as if it were padded."""
    size = fakes.largest(rows), fakes.largest(columns)
    return plan_of("max", (*size, 1, 1, 1, 1, 1, 1, *y.shape[2:], 0, 0, 0, 0, -1, 0, last), 0.0, x, y)


def _tables(x: Tensor, rows: str, columns: str) -> tuple[Any, ...]:
    """The edges of rows and columns; of each place the cells that hold it; and how many do at most, down and across."""
    return _uploaded(numbers_of(rows), numbers_of(columns), *x.shape[2:], x.device)


@lru_cache(256)
def _uploaded(
    rows: tuple[int, ...], columns: tuple[int, ...], height: int, width: int, device: torch.device
) -> tuple[Any, ...]:
    tables = [_ends(rows), _ends(columns), _holders(rows, height), _holders(columns, width)]
    numbers = torch.tensor([*chain(*tables)], dtype=torch.int32, pin_memory=device.type == "cuda")
    most = (max(end - start for start, end in zip(held[::2], held[1::2], strict=True)) for held in tables[2:])
    return *numbers.to(device, non_blocking=True).split([len(table) for table in tables]), *most


def _ends(edges: Sequence[int]) -> list[int]:
    """The first position of every cell and that after its last."""
    return [edge + number % 2 for number, edge in enumerate(edges)]


def _holders(edges: Sequence[int], size: int) -> list[int]:
    """Of each place of an axis the first cell that holds it and that after the last one.

    >>> _holders([0, 2, 2, 3], 4)
    [0, 1, 0, 1, 0, 2, 1, 2]
    """
    firsts, lasts = edges[::2], edges[1::2]
    assert list(firsts) == sorted(firsts)
    assert list(lasts) == sorted(lasts)
    return [cell for place in range(size) for cell in (bisect_left(lasts, place), bisect_right(firsts, place))]
