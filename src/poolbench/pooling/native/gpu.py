"""The local operators for GPUs, in Triton: the operators of the CPU kernels, with the same arguments and saved bytes.

A program handles a block of numbers in the order in which they lie in memory, so that neighbours read neighbours in
either layout: a plane of NCHW counts as a picture of one channel. The way back gathers: each number of the input visits
the windows that hold it and adds up what they give, in one order whatever runs beside it. All is computed in float32,
or in float64 for float64.

Position t of a window lies in its row t // kw and its column t % kw. `at` says where the windows of a block lie: the
place in memory of the first number of each one's plane, its first row and column, the height, width and channels of
the map, and which windows are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from poolbench.pooling.native import fakes
from poolbench.pooling.native.operator import BORDERS, LOOKS
from poolbench.pooling.window import wide

BLOCK = 512
"""Numbers of a program: four for each of its threads, which is 16 bytes of float32."""
UNROLLED = 9
"""Loops over so many positions are unrolled."""
OWN = 17
"""Numbers of an operator's own plan; that of the windows that are blurred comes after it, without the last."""
FAR = 2**31
"""Places from here on need 64 bits."""
NONE = tl.constexpr(255)
"""In place of a position."""
SHARE = tl.constexpr(2.0**-8)
"""Values are summed by this part of theirs: a window holds fewer than 2⁸, so that their sum cannot overflow."""
LOWEST = tl.constexpr(-1e4)
"""Below it e^v is 0 in every format, and its product with v must be too."""


@dataclass(frozen=True)
class Plan:
    """What a kernel is compiled for: an operator, its windows, and the type in which it computes.

    The padding that an average counts goes so far `above`, `below`, `before` and `after` the map. `far`: places need
    64 bits.
    """

    name: str
    number: float
    real: tl.dtype
    far: bool
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
    def rows_over(self) -> int:
        """The most rows of windows that hold one row of the map."""
        return triton.cdiv(self.dh * (self.kh - 1) + 1, self.sh)

    @property
    def columns_over(self) -> int:
        return triton.cdiv(self.dw * (self.kw - 1) + 1, self.sw)

    @property
    def most(self) -> float:
        """The largest finite number."""
        return torch.finfo(torch.float64 if self.real == tl.float64 else torch.float32).max

    @property
    def least(self) -> float:
        """The smallest normal number."""
        return torch.finfo(torch.float64 if self.real == tl.float64 else torch.float32).tiny


@dataclass(frozen=True)
class Links:
    """A filter along an axis, of `size` taps at a stride, and the windows that a mean or a maximum is taken of before.

    These hold `kernel` places, start `first` of them before the map, and count the padding `low` and `high`. What lies
    between is `short` if the filter and a window may reach round it, or an output be found from both of its ends; then
    all `outputs` reach each place.
    """

    size: int
    stride: int
    border: str
    kernel: int
    first: int
    low: int
    high: int
    short: bool
    outputs: int

    @property
    def before(self) -> int:
        return (self.size - 1) // 2

    @property
    def after(self) -> int:
        return self.size // 2

    @property
    def beside(self) -> int:
        """The most outputs that reach one place of the map, but not round its ends."""
        return (self.kernel - 1 + 2 * self.after) // self.stride + 1

    @property
    def count(self) -> int:
        """The most outputs that reach one place of the map."""
        return self.outputs if self.short else self.beside * (2 if self.border == "circular" else 1)

    @property
    def unroll(self) -> int:
        return self.count if self.count <= UNROLLED else 1


@triton.jit
def _block(size, PLAN: tl.constexpr, BLOCK: tl.constexpr):
    """The places of the numbers of this program, and whether there are such."""
    start = tl.program_id(0)
    if PLAN.far:
        start = start.to(tl.int64)
    place = start * BLOCK + tl.arange(0, BLOCK)
    return place, place < size


@triton.jit
def _split(place, height, width, channels):
    """The picture, row, column and channel of a place."""
    pixel = place // channels
    line = pixel // width
    return line // height, line % height, pixel % width, place % channels


@triton.jit
def _read(x, at, t, PLAN: tl.constexpr):
    """What each window holds at position t, 0 outside of the map, and whether that lies inside."""
    first, top, left, height, width, channels, live = at
    row = top + t // PLAN.kw * PLAN.dh
    column = left + t % PLAN.kw * PLAN.dw
    inside = live & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return tl.load(x + first + (row * width + column) * channels, mask=inside, other=0).to(PLAN.real), inside


@triton.jit
def _filled(at, value, dtype: tl.constexpr):
    return tl.full(at[0].shape, value, dtype)


@triton.jit
def _counted(start, size, low, high, kernel: tl.constexpr, spread: tl.constexpr):
    """How many of the positions from `start` on an average counts along an axis; at least 1."""
    first = (tl.maximum(-low - start, 0) + spread - 1) // spread
    last = (tl.maximum(size + high - start, 0) + spread - 1) // spread
    return tl.maximum(tl.minimum(last, kernel) - tl.minimum(first, kernel), 1)


@triton.jit
def _members(at, PLAN: tl.constexpr):
    """How many positions of each window an average counts."""
    rows = _counted(at[1], at[3], PLAN.above, PLAN.below, PLAN.kh, PLAN.dh)
    columns = _counted(at[2], at[4], PLAN.before, PLAN.after, PLAN.kw, PLAN.dw)
    return (rows * columns).to(PLAN.real)


@triton.jit
def _largest(x, at, PLAN: tl.constexpr):
    """The first maximum of each window, or its last NaN; its position; the sum."""
    largest, total = _filled(at, -float("inf"), PLAN.real), _filled(at, 0, PLAN.real)
    position = _filled(at, NONE, tl.int32)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v, inside = _read(x, at, t, PLAN)
        wins = inside & ((v > largest) | (v != v) | (position == NONE))
        largest = tl.where(wins, v, largest)
        position = tl.where(wins, t, position)
        total += v
    return largest, position, total


@triton.jit
def _sum(x, at, PLAN: tl.constexpr):
    total = _filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        total += _read(x, at, t, PLAN)[0]
    return total


@triton.jit
def _middle(x, at, PLAN: tl.constexpr):
    """The two middle values of each window, each by how many come before it; NaN if it holds one, 0 if nothing."""
    members, nan = _filled(at, 0, tl.int32), _filled(at, 0, tl.int1)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v, inside = _read(x, at, t, PLAN)
        members += inside.to(tl.int32)
        nan |= v != v
    lower, upper = _filled(at, 0, PLAN.real), _filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count):
        v, inside = _read(x, at, t, PLAN)
        rank = _filled(at, 0, tl.int32)
        for s in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
            w, there = _read(x, at, s, PLAN)
            rank += (there & ((w < v) | ((w == v) & (s < t)))).to(tl.int32)
        lower = tl.where(inside & (rank == (members - 1) // 2), v, lower)
        upper = tl.where(inside & (rank == members // 2), v, upper)
    return tl.where(nan, float("nan"), lower), tl.where(nan, float("nan"), upper)


@triton.jit
def _power(x, PLAN: tl.constexpr, p: tl.constexpr):
    """x^p of numbers that are not negative."""
    if p == 2:
        y = x * x
    elif p == 1:
        y = x
    elif p == 0.5:
        y = tl.sqrt(x)
    elif p == 3:
        y = x * x * x
    else:
        y = tl.where(x < PLAN.least, 0, tl.exp(tl.log(x) * p))
    return y


@triton.jit
def _powers(x, at, PLAN: tl.constexpr):
    """The mean of the powers of |x| as parts of its maximum, so that none overflows, and that maximum."""
    largest, total = _filled(at, 0, PLAN.real), _filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = tl.abs(_read(x, at, t, PLAN)[0])
        largest = tl.where(v > largest, v, largest)
    scale = tl.where((largest > 0) & (largest <= PLAN.most), largest, 1)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = tl.abs(_read(x, at, t, PLAN)[0])
        part = tl.where(largest > PLAN.most, largest, _power(v / scale, PLAN, PLAN.number))
        total += tl.where(v != v, v, part)
    return total / _members(at, PLAN), scale


@triton.jit
def _positive(v):
    return tl.where(v < 0, 0, v)


@triton.jit
def _positive_sum(x, at, PLAN: tl.constexpr):
    """The sum of the positive values of each window, times SHARE."""
    total = _filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        total += _positive(_read(x, at, t, PLAN)[0]) * SHARE
    return total


@triton.jit
def _expectation(x, at, PLAN: tl.constexpr):
    """The mean of each window's positive values weighted by themselves, and their sum times SHARE, 1 if that is 0."""
    total, mean = _positive_sum(x, at, PLAN), _filled(at, 0, PLAN.real)
    total = tl.where(total == 0, 1, total)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v = _positive(_read(x, at, t, PLAN)[0])
        mean += v * SHARE / total * v
    return mean, total


@triton.jit
def _mix(x):
    """Bits of 32 that depend on all of those given."""
    x = (x ^ (x >> 16)) * 0x21F0AAAD
    x = (x ^ (x >> 15)) * 0x735A2D97
    return x ^ (x >> 15)


@triton.jit
def _uniform(seed, place, PLAN: tl.constexpr):
    """Uniform numbers in [0, 1), those of slide.h: a function of the seed and of the output's place alone."""
    seed, place = seed.to(tl.int64), place.to(tl.int64)
    x = _mix((place.to(tl.uint32) * 0x9E3779B9) ^ seed.to(tl.uint32))
    x = _mix(x + (seed >> 32).to(tl.uint32) + (place >> 32).to(tl.uint32) * 0x85EBCA6B)
    return (x >> 9).to(PLAN.real) * 2.0**-23


@triton.jit
def _drawn(x, at, chance, PLAN: tl.constexpr):
    """A value of each window in proportion to itself, and its position; without a positive value 0 and NONE."""
    total = _positive_sum(x, at, PLAN)
    threshold = chance * total
    value, passed = _filled(at, 0, PLAN.real), _filled(at, 0, PLAN.real)
    position = _filled(at, NONE, tl.int32)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v, inside = _read(x, at, t, PLAN)
        v = _positive(v)
        beyond = inside & (threshold >= passed) & (v > 0)
        value = tl.where(beyond, v, value)
        position = tl.where(beyond, t, position)
        passed += v * SHARE
    return value + total * 0, position  # NaN or infinity among the values: NaN


@triton.jit
def _below(v, limit):
    v -= limit
    v = tl.where(v > 0, 0, v)
    return tl.where(v < LOWEST, LOWEST, v)


@triton.jit
def _softened(x, at, PLAN: tl.constexpr):
    """The exponentially weighted mean of each window's distance to its maximum; that, made finite; the sum of weights.

    The maximum itself comes last.
    """
    largest = _largest(x, at, PLAN)[0]
    limit = tl.where(largest > PLAN.most, PLAN.most, largest)
    limit = tl.where(limit < -PLAN.most, -PLAN.most, limit)
    total, mean = _filled(at, 0, PLAN.real), _filled(at, 0, PLAN.real)
    for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
        v, inside = _read(x, at, t, PLAN)
        v = _below(v, limit)
        weight = tl.where(inside, tl.exp(v), 0)
        total += weight
        mean += weight * v
    total = tl.where(total < 1, 1, total)
    return mean / total, limit, total, largest


@triton.jit(do_not_specialize=["seed"])
def _forward(
    x, y, position, uniform, seed, size, height, width, rows, columns, channels, PLAN: tl.constexpr, BLOCK: tl.constexpr
):
    """The operator of each window, and its position where the backward pass needs one; `y` or `position` may lack."""
    place, live = _block(size, PLAN, BLOCK)
    picture, i, j, channel = _split(place, rows, columns, channels)
    first = picture * height * width * channels + channel
    at = (first, i * PLAN.sh - PLAN.top, j * PLAN.sw - PLAN.left, height, width, channels, live)
    chosen = _filled(at, NONE, tl.int32)
    if PLAN.name == "max":
        value, chosen, _ = _largest(x, at, PLAN)
    elif PLAN.name == "average":
        value = _sum(x, at, PLAN) / _members(at, PLAN)
    elif PLAN.name == "mixed":
        largest, chosen, total = _largest(x, at, PLAN)
        value = largest * PLAN.number + total / _members(at, PLAN) * (1 - PLAN.number)
    elif PLAN.name == "subsample":
        value = _read(x, at, PLAN.centre, PLAN)[0]
    elif PLAN.name == "median":
        lower, upper = _middle(x, at, PLAN)
        value = (lower + upper) / 2
    elif PLAN.name == "lp":
        mean, scale = _powers(x, at, PLAN)
        value = tl.where(mean <= PLAN.most, scale * _power(mean, PLAN, 1 / PLAN.number), mean)
    elif PLAN.name == "stochastic":
        if uniform is None:
            chance = _uniform(seed, place, PLAN)
        else:
            chance = tl.load(uniform + place, mask=live, other=0).to(PLAN.real)
        value, chosen = _drawn(x, at, chance, PLAN)
    elif PLAN.name == "expectation":
        value = _expectation(x, at, PLAN)[0]
    else:
        tl.static_assert(PLAN.name == "softpool")
        mean, _, _, largest = _softened(x, at, PLAN)
        value = mean + largest
    if y is not None:
        tl.store(y + place, value.to(y.dtype.element_ty), mask=live)
    if position is not None:
        tl.store(position + place, chosen.to(tl.uint8), mask=live)


@triton.jit
def _looked(x, at, own, t, g, PLAN: tl.constexpr):
    """What windows with gradients `g` give to the number `own` at their position t, for kernels that look at it."""
    if PLAN.name == "median":
        lower, upper = _middle(x, at, PLAN)
        low, high = own == lower, own == upper
        for s in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
            v, inside = _read(x, at, s, PLAN)
            earlier = inside & (s < t)
            low = low & ~(earlier & (v == lower))
            high = high & ~(earlier & (v == upper))
        part = tl.where(low, g / 2, 0) + tl.where(high, g / 2, 0)
    elif PLAN.name == "lp":
        mean, scale = _powers(x, at, PLAN)
        g = tl.where(mean == 0, 0, g / _members(at, PLAN))
        mean = tl.where(mean == 0, 1, mean)
        part = g * _power(mean, PLAN, 1 / PLAN.number - 1) * _power(tl.abs(own) / scale, PLAN, PLAN.number - 1)
        part = tl.where(own == 0, 0, tl.where(own < 0, -part, part))
    elif PLAN.name == "expectation":
        mean, total = _expectation(x, at, PLAN)
        part = tl.where(own < 0, 0, g * SHARE / total * (own + own - mean))
    else:
        tl.static_assert(PLAN.name == "softpool")
        mean, limit, total, _ = _softened(x, at, PLAN)
        v = _below(own, limit)
        part = g / total * tl.exp(v) * (v - (mean - 1))
    return part


@triton.jit
def _backward(
    g, x, position, to, size, height, width, rows, columns, channels, PLAN: tl.constexpr, BLOCK: tl.constexpr
):
    """The gradient of the input, from the windows that hold each of its numbers."""
    place, live = _block(size, PLAN, BLOCK)
    picture, row, column, channel = _split(place, height, width, channels)
    row, column = row + PLAN.top, column + PLAN.left
    first = picture * height * width * channels + channel
    total = tl.full(place.shape, 0, PLAN.real)
    if x is not None:
        own = tl.load(x + place, mask=live, other=0).to(PLAN.real)
    for q in tl.range(PLAN.rows_over * PLAN.columns_over):
        i, j = row // PLAN.sh - q // PLAN.columns_over, column // PLAN.sw - q % PLAN.columns_over
        r, c = row - i * PLAN.sh, column - j * PLAN.sw
        holds = live & (i >= 0) & (i < rows) & (j >= 0) & (j < columns)
        holds = holds & (r % PLAN.dh == 0) & (r // PLAN.dh < PLAN.kh) & (c % PLAN.dw == 0) & (c // PLAN.dw < PLAN.kw)
        t = r // PLAN.dh * PLAN.kw + c // PLAN.dw
        at = (first, i * PLAN.sh - PLAN.top, j * PLAN.sw - PLAN.left, height, width, channels, holds)
        window = ((picture * rows + i) * columns + j) * channels + channel
        given = tl.load(g + window, mask=holds, other=0).to(PLAN.real)
        chosen = t == PLAN.centre
        if position is not None:
            chosen = tl.load(position + window, mask=holds, other=NONE).to(tl.int32) == t
        if PLAN.name == "max" or PLAN.name == "stochastic" or PLAN.name == "subsample":
            total += tl.where(chosen, given, 0)
        elif PLAN.name == "average":
            total += given / _members(at, PLAN)
        elif PLAN.name == "mixed":
            total += given * (1 - PLAN.number) / _members(at, PLAN) + tl.where(chosen, given * PLAN.number, 0)
        else:
            total += tl.where(holds, _looked(x, at, own, t, given, PLAN), 0)
    tl.store(to + place, total.to(to.dtype.element_ty), mask=live)


@triton.jit
def _source(place, size, LINKS: tl.constexpr):
    """The place in a map of this size that stands for a place of the padded map, and whether there is one."""
    if LINKS.border == "replicate":
        place = tl.minimum(tl.maximum(place, 0), size - 1)
    elif LINKS.border == "reflect":
        if LINKS.short:
            period = tl.maximum(2 * (size - 1), 1)
            place = (place % period + period) % period
            place = tl.minimum(place, period - place)
        else:
            place = tl.where(place < 0, -place, place)
            place = tl.minimum(place, 2 * (size - 1) - place)
    elif LINKS.border == "circular":
        if LINKS.short:
            place = (place % size + size) % size
        else:
            place = tl.where(place < 0, place + size, tl.where(place >= size, place - size, place))
    return place, (place >= 0) & (place < size)


@triton.jit
def _blur(
    x,
    y,
    taps,
    size,
    height,
    width,
    dense_rows,
    dense_columns,
    rows,
    columns,
    channels,
    PLAN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A filter of the maximum or mean of each window: every tap computes its windows anew."""
    place, live = _block(size, PLAN, BLOCK)
    picture, i, j, channel = _split(place, rows, columns, channels)
    first = picture * height * width * channels + channel
    total = tl.full(place.shape, 0, PLAN.real)
    for q in tl.range(ROWS.size * COLUMNS.size):
        r, c = q // COLUMNS.size, q % COLUMNS.size
        a, within = _source(i * ROWS.stride - ROWS.before + r, dense_rows, ROWS)
        b, beside = _source(j * COLUMNS.stride - COLUMNS.before + c, dense_columns, COLUMNS)
        at = (first, a - PLAN.top, b - PLAN.left, height, width, channels, live & within & beside)
        value = _largest(x, at, PLAN)[0] if PLAN.name == "max" else _sum(x, at, PLAN) / _members(at, PLAN)
        weight = tl.load(taps + r).to(PLAN.real) * tl.load(taps + c).to(PLAN.real)
        total += tl.where(within & beside, value * weight, 0)
    tl.store(y + place, total.to(y.dtype.element_ty), mask=live)


@triton.jit
def _link(q, place, size, dense, outputs, taps, real: tl.constexpr, LINKS: tl.constexpr):
    """The q-th output along an axis that this place may reach, and by which weight it does."""
    if LINKS.short:
        i = tl.full(place.shape, 0, tl.int32) + q
    else:
        low = place + LINKS.first - (LINKS.kernel - 1)
        around = tl.where(low < LINKS.after, dense, -dense)
        low += tl.where(q < LINKS.beside, 0, around) - LINKS.after
        i = tl.where(low < 0, -(-low // LINKS.stride), (low + LINKS.stride - 1) // LINKS.stride) + q % LINKS.beside
    weight = tl.full(place.shape, 0, real)
    for k in tl.range(LINKS.kernel):
        members = _counted(place - k, size, LINKS.low, LINKS.high, LINKS.kernel, 1)
        part = tl.full(place.shape, 0, real)
        for t in tl.range(LINKS.size):
            source, inside = _source(i * LINKS.stride - LINKS.before + t, dense, LINKS)
            part += tl.where(inside & (source == place - k + LINKS.first), tl.load(taps + t).to(real), 0)
        weight += part / members
    return i, tl.where((i >= 0) & (i < outputs), weight, 0)


@triton.jit
def _blur_backward(
    g,
    to,
    taps,
    size,
    height,
    width,
    dense_rows,
    dense_columns,
    rows,
    columns,
    channels,
    PLAN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradient of what was averaged and then filtered."""
    place, live = _block(size, PLAN, BLOCK)
    picture, row, column, channel = _split(place, height, width, channels)
    total = tl.full(place.shape, 0, PLAN.real)
    for p in tl.range(ROWS.count):
        i, down = _link(p, row, height, dense_rows, rows, taps, PLAN.real, ROWS)
        part = tl.full(place.shape, 0, PLAN.real)
        for q in tl.range(COLUMNS.count, loop_unroll_factor=COLUMNS.unroll):
            j, along = _link(q, column, width, dense_columns, columns, taps, PLAN.real, COLUMNS)
            window = ((picture * rows + i) * columns + j) * channels + channel
            reaches = live & (down != 0) & (along != 0)
            part += tl.load(g + window, mask=reaches, other=0).to(PLAN.real) * along
        total += part * down
    tl.store(to + place, total.to(to.dtype.element_ty), mask=live)


def slide(
    x: Tensor, extra: Tensor | None, name: str, plan: Sequence[int], number: float, keep: bool
) -> tuple[Tensor, Tensor]:
    """The operator `name` of each window of `x`, (N, C, H, W) to (N, C, H', W'), and what the backward pass keeps."""
    y, position = fakes.slide(x, extra, name, plan, number, keep)
    if len(plan) > OWN:
        _launch(_blur, y, _sizes(x, plan), x, y, extra, **_filter(name, plan, x, y))
        return y, position
    uniform = extra if extra is not None and extra.is_floating_point() else None
    seed = int(extra) if extra is not None and uniform is None else 0
    kept = position if len(position) else None
    _launch(_forward, y, _sizes(x, plan), x, y, kept, uniform, seed, PLAN=_plan(name, plan, number, x, y))
    return y, position


def slide_backward(
    g: Tensor,
    x: Tensor | None,
    position: Tensor | None,
    extra: Tensor | None,
    name: str,
    plan: Sequence[int],
    height: int,
    width: int,
    number: float,
) -> Tensor:
    """The gradient of the input (N, C, H, W), from that of the output and what the forward pass kept."""
    to = fakes.slide_backward(g, x, position, extra, name, plan, height, width, number)
    if name == "max_blur":
        _max_blur_backward(g, x, extra, to, plan)
    elif len(plan) > OWN:
        _launch(_blur_backward, to, _sizes(to, plan), g, to, extra, **_filter(name, plan, g, to))
    else:
        seen = x if name in LOOKS else None
        _launch(_backward, to, _sizes(to, plan), g, seen, position, to, PLAN=_plan(name, plan, number, g, to))
    return to


def _max_blur_backward(g: Tensor, x: Tensor | None, taps: Tensor | None, to: Tensor, plan: Sequence[int]) -> None:
    """In three launches: the gradient of each window's maximum, where that lies, and what each number receives.

    In one, a number would search the k² positions of k² windows, each time that a tap of the filter sees one of them.
    """
    assert x is not None
    inner = (*plan[OWN:], plan[16])
    rows, columns = inner[8:10]
    between = fakes.like(wide(x[:0]), rows, columns, plan[16], len(x))
    position = fakes.like(x, rows, columns, plan[16], len(x), torch.uint8)
    alone = (*plan[:OWN], 1, 1, 1, 1, 1, 1, 0, 0, rows, columns, 0, 0, 0, 0, -1, 0)
    _launch(_blur_backward, between, _sizes(between, alone), g, between, taps, **_filter("blur", alone, g, between))
    chosen = _plan("max", inner, 0.0, x, between)
    _launch(_forward, position, _sizes(x, inner), x, None, position, None, 0, PLAN=chosen)
    _launch(_backward, to, _sizes(to, inner), between, None, position, to, PLAN=chosen)


def _launch(kernel: Any, target: Tensor, sizes: tuple[int, ...], *tensors: Tensor | int | None, **plans: Any) -> None:
    """Run a kernel on the device of `target`, of which it writes every number."""
    with torch.cuda.device_of(target):
        grid = (triton.cdiv(target.numel(), BLOCK),)
        kernel[grid](*tensors, target.numel(), *sizes, **plans, BLOCK=BLOCK, enable_fp_fusion=True)


def _sizes(x: Tensor, plan: Sequence[int]) -> tuple[int, ...]:
    """Height and width of the input, of what is blurred if anything is, and of the output; channels side by side."""
    return *x.shape[2:], *plan[OWN:][8:10], *plan[8:10], x.shape[1] if plan[16] else 1


def _plan(name: str, plan: Sequence[int], number: float, *maps: Tensor) -> Plan:
    real = tl.float64 if maps[0].dtype == torch.float64 else tl.float32
    far = max(each.numel() for each in maps) >= FAR
    return Plan(name, number, real, far, *plan[:8], *plan[10:15])


def _filter(name: str, plan: Sequence[int], *maps: Tensor) -> dict[str, Plan | Links]:
    """The plans of a filter and of the windows before it."""
    inner = plan[OWN:]
    rows, columns = (_links(axis, plan, inner) for axis in (0, 1))
    windows = _plan("max" if name == "max_blur" else "average", inner, 0.0, *maps)
    return {"PLAN": windows, "ROWS": rows, "COLUMNS": columns}


def _links(axis: int, plan: Sequence[int], inner: Sequence[int]) -> Links:
    size, kernel = plan[axis], inner[axis]
    border, stride = BORDERS[plan[15]], plan[2 + axis]
    short = inner[8 + axis] < size + kernel + (2 * stride if border == "circular" else 0)
    padding = inner[10 + 2 * axis], inner[11 + 2 * axis]
    outputs = plan[8 + axis] if short else 0
    return Links(size, stride, border, kernel, inner[6 + axis], *padding, short, outputs)
