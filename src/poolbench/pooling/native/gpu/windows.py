"""Where windows lie, what they hold, and how kernels are run.

Position t of a window lies in its row t // kw and its column t % kw. `at` says where the windows of a block lie: the
place in memory of the first number of each one's plane, its first row and column, the rows and columns that there are,
how far apart rows and columns lie, which windows are looked at, and the plane.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512
"""Numbers of a program: four for each of its threads, which is 16 bytes of float32."""
UNROLLED = 9
"""Loops over so many positions are unrolled."""
FAR = 2**31
"""Places from here on need 64 bits."""
LONG = 2**19
"""Sizes from here on are divided by as whole numbers."""
WIDEST = 128
"""At most so many numbers of a program lie side by side."""
NONE = tl.constexpr(255)
"""In place of a position."""
SHARED = {
    **{"median": 3, "lp": 2, "expectation": 2, "softpool": 3},
    **{"detail_preserving": 7, "adapool": 9, "lp_learned": 4, "ordinal": 1, "lip": 2, "gated": 4},
}
"""How many numbers `common` finds of a window."""


@dataclass(frozen=True)
class Plan:
    """What a kernel is compiled for: an operator, its windows, and the type in which it computes.

    The padding that an average counts goes so far `above`, `below`, `before` and `after` the map. `exact`: places need
    64 bits, or sizes whole divisions. `whole`: no window reaches beyond the map. `last`: channels lie side by side.
    """

    name: str
    number: float
    real: tl.dtype
    exact: bool
    whole: bool
    last: bool
    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    top: int
    left: int
    above: int
    below: int
    before: int
    after: int
    centre: int

    @property
    def count(self) -> int:
        """Positions of a window."""
        return self.kh * self.kw

    @property
    def unroll(self) -> int:
        return self.count if self.count <= UNROLLED else 1

    @property
    def unroll_nested(self) -> int:
        """Of a loop over positions within another."""
        return self.count if self.count**2 <= 2 * UNROLLED else 1

    @property
    def rows_over(self) -> int:
        """The most rows of windows that hold one row of the map."""
        return triton.cdiv(self.dh * (self.kh - 1) + 1, self.sh)

    @property
    def columns_over(self) -> int:
        return triton.cdiv(self.dw * (self.kw - 1) + 1, self.sw)

    @property
    def over(self) -> int:
        """The most windows that hold one number."""
        return self.rows_over * self.columns_over

    @property
    def unroll_over(self) -> int:
        return self.over if self.over <= UNROLLED else 1

    @property
    def shared(self) -> int:
        return SHARED.get(self.name, 0)

    @property
    def most(self) -> float:
        """The largest finite number."""
        return torch.finfo(torch.float64 if self.real == tl.float64 else torch.float32).max

    @property
    def least(self) -> float:
        """The smallest normal number."""
        return torch.finfo(torch.float64 if self.real == tl.float64 else torch.float32).tiny


def plan_of(name: str, plan: Sequence[int], number: float, *maps: Tensor) -> Plan:
    """What a kernel is compiled for that reads and writes these maps, the first of them the input or its gradient."""
    height, width = maps[0].shape[2:]
    double, far = maps[0].dtype == torch.float64, max(each.numel() for each in maps) >= FAR
    return _plan(name, tuple(plan), number, double, far, height, width, maps[0].shape[1])


@lru_cache(1024)
def _plan(
    name: str, plan: tuple[int, ...], number: float, double: bool, far: bool, height: int, width: int, channels: int
) -> Plan:
    kh, kw, sh, sw, dh, dw, top, left, rows, columns = plan[:10]
    exact = far or max(height, width, rows, columns, channels) >= LONG
    last = (rows - 1) * sh + dh * (kh - 1) - top, (columns - 1) * sw + dw * (kw - 1) - left
    whole = top <= 0 and left <= 0 and last[0] < height and last[1] < width
    real = tl.float64 if double else tl.float32
    return Plan(name, number, real, exact, whole, bool(plan[16]), *plan[:8], *plan[10:15])


def launch(
    kernel: Any, target: Tensor, sizes: tuple[int, ...], *tensors: Tensor | int | None, PLAN: Plan, **others: Any
) -> None:
    """Run a kernel on the device of `target`, of which it writes every number."""
    inner = target.shape[1 if PLAN.last else 3]
    lines, side = target.numel() // inner, _side(inner)
    grid = triton.cdiv(lines, BLOCK // side), triton.cdiv(inner, side)
    run(kernel, target, grid, *tensors, lines, *sizes, PLAN=PLAN, **others, LINES=BLOCK // side, SIDE=side)


@lru_cache(1024)
def _side(inner: int) -> int:
    """How many of the numbers side by side a program takes: few are read slowly, and of many the last may lack.

    >>> [_side(inner) for inner in (7, 33, 56, 64, 96)]
    [8, 8, 64, 64, 32]
    """
    sides = [2**power for power in range(WIDEST.bit_length())]
    return min(sides, key=lambda side: triton.cdiv(inner, side) * (side + 2))


def run(kernel: Any, target: Tensor, grid: tuple[int, ...], *arguments: Any, **plans: Any) -> None:
    """Run so many programs of a kernel on the device of `target`."""
    with torch.cuda.device_of(target):
        kernel[grid](*arguments, **plans, enable_fp_fusion=True)


def sizes_of(x: Tensor, plan: Sequence[int]) -> tuple[int, ...]:
    """Height and width of the input and of the output; channels side by side."""
    return *x.shape[2:], *plan[8:10], x.shape[1] if plan[16] else 1


@triton.jit
def _divided(start, along, size, PLAN: tl.constexpr):
    """How many times `size` goes into `start` and beyond that into `start` + `along`; and what is left.

    By a reciprocal, where what it is of is less than a million: a whole division takes ten times as long.
    """
    if PLAN.exact:
        whole = start // size
        beyond, rest = (start + along) // size - whole, (start + along) % size
    else:
        whole, rest = start // size, start % size + along
        beyond = ((rest.to(tl.float32) + 0.5) * (1.0 / size)).to(tl.int32)
        rest -= beyond * size
    return whole, beyond, rest


@triton.jit
def places(lines, height, width, channels, PLAN: tl.constexpr, LINES: tl.constexpr, SIDE: tl.constexpr):
    """The places of the numbers of this program, whether there are such; their pictures, rows, columns and channels.

    A line is a row of a plane, or a pixel's channels. Its numbers go along the first axis: neighbouring threads take
    those, where Triton does not know which numbers lie side by side.
    """
    start, along = tl.program_id(0), tl.arange(0, LINES)[None, :]
    side = tl.program_id(1) * SIDE + tl.arange(0, SIDE)[:, None]
    if PLAN.exact:
        start = start.to(tl.int64)
    start *= LINES
    if PLAN.last:
        whole, beyond, column = _divided(start, along, width, PLAN)
        whole, beyond, row = _divided(whole, beyond, height, PLAN)
        channel, inner = side, channels
    else:
        whole, beyond, row = _divided(start, along, height, PLAN)
        column, channel, inner = side, 0, width
    line, picture = start + along, whole + beyond
    return line * inner + side, (line < lines) & (side < inner), picture, row, column, channel


@triton.jit
def windows(picture, i, j, channel, live, height, width, channels, PLAN: tl.constexpr):
    """The windows in rows `i` and columns `j`."""
    plane = picture * channels + channel + j * 0
    first = plane + picture * (height * width - 1) * channels
    top, left = i * PLAN.sh - PLAN.top, j * PLAN.sw - PLAN.left
    return first, top, left, height, width, width * channels, channels, live, plane


@triton.jit
def within(number, size):
    """Whether it is one of 0 to `size` - 1, in one comparison: as without a sign those below 0 are large."""
    return number.to(tl.uint64 if number.dtype == tl.int64 else tl.uint32, bitcast=True) < size


@triton.jit
def spot(at, t, PLAN: tl.constexpr):
    """Where position t of each window lies in memory, and whether that is inside of the map."""
    first, top, left, rows, columns, down, right, inside, _ = at
    row = top + t // PLAN.kw * PLAN.dh
    column = left + t % PLAN.kw * PLAN.dw
    if not PLAN.whole:
        inside = inside & within(row, rows) & within(column, columns)
    return first + row * down + column * right, inside


@triton.jit
def read(x, at, t, PLAN: tl.constexpr):
    """What each window holds at position t, 0 outside of the map, and whether that lies inside."""
    place, inside = spot(at, t, PLAN)
    return tl.load(x + place, mask=inside, other=0).to(PLAN.real), inside


@triton.jit
def first_inside(at, PLAN: tl.constexpr):
    """The first position of each window that lies in the map, NONE at most."""
    position = 0
    if not PLAN.whole:
        above, before = tl.maximum(-at[1], 0) + PLAN.dh - 1, tl.maximum(-at[2], 0) + PLAN.dw - 1
        position = tl.minimum(above // PLAN.dh * PLAN.kw + before // PLAN.dw, NONE)
    return position


@triton.jit
def nearest(start, size, spread: tl.constexpr):
    """The first place of a window from `start` on that lies on an axis, or the place nearest to it."""
    return tl.minimum(start + (tl.maximum(-start, 0) + spread - 1) // spread * spread, size - 1)


@triton.jit
def filled(at, value, dtype: tl.constexpr):
    """A number for each window."""
    return tl.full(at[0].shape, value, dtype)


@triton.jit
def _counted(start, size, low, high, kernel: tl.constexpr, spread: tl.constexpr):
    """How many of the positions from `start` on an average counts along an axis; at least 1."""
    first = (tl.maximum(-low - start, 0) + spread - 1) // spread
    last = (tl.maximum(size + high - start, 0) + spread - 1) // spread
    return tl.maximum(tl.minimum(last, kernel) - tl.minimum(first, kernel), 1)


@triton.jit
def share(at, PLAN: tl.constexpr):
    """The share of each position in an average."""
    if PLAN.whole:
        part = filled(at, 1.0 / PLAN.count, PLAN.real)
    else:
        rows = _counted(at[1], at[3], PLAN.above, PLAN.below, PLAN.kh, PLAN.dh).to(PLAN.real)
        columns = _counted(at[2], at[4], PLAN.before, PLAN.after, PLAN.kw, PLAN.dw).to(PLAN.real)
        part = (1 / rows) * (1 / columns)
    return part
