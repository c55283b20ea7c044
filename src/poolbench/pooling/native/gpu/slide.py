"""Operators over windows, and filters of them."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from poolbench.pooling.native import fakes
from poolbench.pooling.native.gpu.filters import banded
from poolbench.pooling.native.gpu.operators import EVERY, common, drawn, largest, part, to_number, uniform, value
from poolbench.pooling.native.gpu.windows import (
    NONE,
    Plan,
    filled,
    launch,
    nearest,
    places,
    plan_of,
    read,
    run,
    share,
    sizes_of,
    spot,
    windows,
    within,
)
from poolbench.pooling.native.operator import LOOKS
from poolbench.pooling.native.plan import OWN, numbers_of
from poolbench.pooling.window import wide

CHANNELS = 64
"""As many channels of channels_last at once at most, where programs are given windows."""
NUMBERS = 512
"""As many windows times channels."""


@triton.jit(do_not_specialize=["seed"])
def _forward(
    x,
    y,
    position,
    index,
    extra,
    seed,
    other,
    numbers,
    lines,
    height,
    width,
    rows,
    columns,
    channels,
    planes,
    PLAN: tl.constexpr,
    LINES: tl.constexpr,
    SIDE: tl.constexpr,
):
    """The operator of each window, its position where the backward pass needs one, and where in the map that is.

    What of them is not asked for lacks.
    """
    place, live, picture, i, j, channel = places(lines, rows, columns, channels, PLAN, LINES, SIDE)
    at = windows(picture, i, j, channel, live, height, width, channels, PLAN)
    chosen = filled(at, NONE, tl.int32)
    if PLAN.name == "max":
        result, chosen, _ = largest(x, at, PLAN)
    elif PLAN.name == "mixed":
        top, chosen, total = largest(x, at, PLAN)
        result = top * PLAN.number + total * share(at, PLAN) * (1 - PLAN.number)
    elif PLAN.name == "coin":
        heads = tl.load(extra + at[8], mask=live, other=0) != 0
        top, chosen, total = largest(x, at, PLAN)
        result = tl.where(heads, top, total * share(at, PLAN))
        chosen = tl.where(heads, chosen, EVERY)
    elif PLAN.name == "stochastic":
        if extra is None:
            chance = uniform(seed, place, PLAN)
        else:
            chance = tl.load(extra + place, mask=live, other=0).to(PLAN.real)
        result, chosen = drawn(x, at, chance, PLAN)
    else:
        result = value(x, other, numbers, at, planes, PLAN)
    if y is not None:
        tl.store(y + place, result.to(y.dtype.element_ty), mask=live)
    if position is not None:
        tl.store(position + place, chosen.to(tl.uint8), mask=live)
    if index is not None:
        nothing = result == -float("inf")  # perhaps padding alone
        row = tl.where(nothing, nearest(at[1], height, PLAN.dh), at[1] + chosen // PLAN.kw * PLAN.dh)
        column = tl.where(nothing, nearest(at[2], width, PLAN.dw), at[2] + chosen % PLAN.kw * PLAN.dw)
        tl.store(index + place, row.to(tl.int64) * width + column, mask=live)


@triton.jit
def _found(kept, window, holds, size, PLAN: tl.constexpr):
    """What `common` found of these windows."""
    count: tl.constexpr = PLAN.shared
    found = (tl.load(kept + window, mask=holds, other=0),)
    for k in tl.static_range(1, count):
        found += (tl.load(kept + k * size + window, mask=holds, other=0),)
    return found


@triton.jit
def _gather(
    g,
    x,
    position,
    other,
    numbers,
    to,
    to_other,
    kept,
    lines,
    height,
    width,
    rows,
    columns,
    channels,
    planes,
    PLAN: tl.constexpr,
    LINES: tl.constexpr,
    SIDE: tl.constexpr,
):
    """The gradient of the input, from the windows that hold each of its numbers; that of a second map beside it."""
    place, live, picture, row, column, channel = places(lines, height, width, channels, PLAN, LINES, SIDE)
    row, column = row + PLAN.top, column + PLAN.left
    total, besides = tl.full(place.shape, 0, PLAN.real), tl.full(place.shape, 0, PLAN.real)
    if x is not None:
        own = tl.load(x + place, mask=live, other=0).to(PLAN.real)
    for q in tl.range(PLAN.over, loop_unroll_factor=PLAN.unroll_over):
        i, j = row // PLAN.sh - q // PLAN.columns_over, column // PLAN.sw - q % PLAN.columns_over
        r, c = row - i * PLAN.sh, column - j * PLAN.sw
        holds = live & within(i, rows) & within(j, columns)
        holds = holds & (r % PLAN.dh == 0) & (r // PLAN.dh < PLAN.kh) & (c % PLAN.dw == 0) & (c // PLAN.dw < PLAN.kw)
        t = r // PLAN.dh * PLAN.kw + c // PLAN.dw
        at = windows(picture, i, j, channel, holds, height, width, channels, PLAN)
        window = ((picture * rows + i) * columns + j) * channels + channel
        given = tl.full(place.shape, 0, PLAN.real)
        if g is not None:
            given = tl.load(g + window, mask=holds, other=0).to(PLAN.real)
        if position is None:
            chosen = t == PLAN.centre
        else:
            lies = tl.load(position + window, mask=holds, other=NONE).to(tl.int32)
            chosen = lies == t
        if PLAN.name == "max" or PLAN.name == "stochastic" or PLAN.name == "subsample":
            total += tl.where(chosen, given, 0)
        elif PLAN.name == "average":
            total += given * share(at, PLAN)
        elif PLAN.name == "mixed":
            total += given * share(at, PLAN) * (1 - PLAN.number) + tl.where(chosen, given * PLAN.number, 0)
        elif PLAN.name == "coin":
            total += tl.where(lies == EVERY, given * share(at, PLAN), tl.where(chosen, given, 0))
        else:
            found = _found(kept, window, holds, (window * 0 + rows) * columns * planes, PLAN)
            one, another = part(x, other, numbers, at, own, t, found, planes, PLAN)
            total += tl.where(holds, one, 0)
            besides += tl.where(holds, another, 0)
    tl.store(to + place, total.to(to.dtype.element_ty), mask=live)
    if to_other is not None:
        tl.store(to_other + place, besides.to(to_other.dtype.element_ty), mask=live)


@triton.jit
def _add(one, other):
    return one + other


@triton.jit
def _spread(
    g,
    x,
    other,
    numbers,
    to,
    to_other,
    sums,
    kept,
    height,
    width,
    rows,
    columns,
    channels,
    planes,
    LEARNED: tl.constexpr,
    PLAN: tl.constexpr,
    WINDOWS: tl.constexpr,
    PLANES: tl.constexpr,
):
    """What windows of some planes give to the numbers that they hold, and to each of the LEARNED ones.

    Where windows meet, `to` lacks, and what `common` finds is `kept` instead. The first axis is as in `places`.
    """
    start, chunk = tl.program_id(0), tl.program_id(1)
    if PLAN.exact:
        start = start.to(tl.int64)
    window, some = chunk * WINDOWS + tl.arange(0, WINDOWS), tl.arange(0, PLANES)
    if PLAN.last:
        side = tl.program_id(2) * PLANES + some
        window, channel, picture = window[None, :], side[:, None], start
        plane, present = start * channels + side, side < channels
        live = (window < rows * columns) & present[:, None]
    else:
        plane = start * PLANES + some
        window, channel, picture = window[:, None], 0, plane[None, :]
        present = plane < planes
        live = (window < rows * columns) & present[None, :]
    at = windows(picture, window // columns, window % columns, channel, live, height, width, channels, PLAN)
    place = (picture * rows * columns + window) * channels + channel
    given = tl.load(g + place, mask=live, other=0).to(PLAN.real)
    found = common(x, other, numbers, at, given, planes, PLAN)
    if to is not None:
        for t in tl.range(PLAN.count, loop_unroll_factor=PLAN.unroll):
            v, inside = read(x, at, t, PLAN)
            one, another = part(x, other, numbers, at, v, t, found, planes, PLAN)
            to_place, _ = spot(at, t, PLAN)
            tl.store(to + to_place, one.to(to.dtype.element_ty), mask=inside)
            if to_other is not None:
                tl.store(to_other + to_place, another.to(to_other.dtype.element_ty), mask=inside)
    else:
        count: tl.constexpr = PLAN.shared
        for k in tl.static_range(count):
            tl.store(kept + k * ((place * 0 + rows) * columns * planes) + place, found[k].to(PLAN.real), mask=live)
    for k in tl.static_range(LEARNED):
        each = tl.where(live, to_number(x, other, numbers, at, found, k, planes, PLAN), 0)
        total = tl.reduce(each, 1 if PLAN.last else 0, _add)
        tl.store(sums + (k * tl.num_programs(1) + chunk) * planes + plane, total, mask=present)


def slide(x: Tensor, extra: Tensor | None, name: str, plan: str, number: float) -> Tensor:
    """The operator `name` of each window of `x`, (N, C, H, W) to (N, C, H', W')."""
    y = fakes.slide(x, extra, name, plan, number)
    if len(numbers_of(plan)) > OWN:
        assert extra is not None
        _blur(x, y, extra, name, numbers_of(plan))
    else:
        _slide(x, y, None, extra, name, numbers_of(plan), number)
    return y


def slide_keeping(x: Tensor, extra: Tensor | None, name: str, plan: str, number: float) -> tuple[Tensor, Tensor]:
    """The same, and which position of each window counts, for the backward pass."""
    y, position = fakes.slide_keeping(x, extra, name, plan, number)
    _slide(x, y, position, extra, name, numbers_of(plan), number)
    return y, position


def switches(x: Tensor, plan: str) -> tuple[Tensor, Tensor, Tensor]:
    """The maxima, their positions in the windows and in the map."""
    y, position, index = fakes.switches(x, plan)
    numbers = numbers_of(plan)
    forward(x, plan_of("max", numbers, 0.0, x, y), numbers, y=y, position=position, index=index)
    return y, position, index


def _slide(
    x: Tensor, y: Tensor, position: Tensor | None, extra: Tensor | None, name: str, plan: Sequence[int], number: float
) -> None:
    seed = 0
    if extra is not None and not extra.is_floating_point():
        seed, extra = int(extra), None
    forward(x, plan_of(name, plan, number, x, y), plan, y=y, position=position, extra=extra, seed=seed)


def slide_backward(
    g: Tensor,
    x: Tensor | None,
    position: Tensor | None,
    extra: Tensor | None,
    name: str,
    plan: str,
    number: float,
) -> Tensor:
    """The gradient of the input (N, C, H, W), from that of the output and what the forward pass kept."""
    numbers = numbers_of(plan)
    if len(numbers) > OWN:
        assert extra is not None
        return _blur_backward(g, x, extra, name, numbers)
    if name in LOOKS:
        assert x is not None
        return backward(g, x, None, None, name, numbers, number)[0]
    to = fakes.slide_backward(g, x, position, extra, name, plan, number)
    _gathered(to, plan_of(name, numbers, number, to, g), numbers, g=g, position=position)
    return to


def forward(
    x: Tensor,
    compiled: Plan,
    plan: Sequence[int],
    *,
    y: Tensor | None = None,
    position: Tensor | None = None,
    index: Tensor | None = None,
    extra: Tensor | None = None,
    seed: int = 0,
    other: Tensor | None = None,
    numbers: Tensor | None = None,
) -> None:
    """Of each window the output `y`, its position, where that lies in the map, or some of these."""
    target = y if y is not None else position
    assert target is not None
    sizes = *sizes_of(x, plan), x.shape[0] * x.shape[1]
    launch(_forward, target, sizes, x, y, position, index, extra, seed, other, numbers, PLAN=compiled)


def backward(
    g: Tensor,
    x: Tensor,
    other: Tensor | None,
    numbers: Tensor | None,
    name: str,
    plan: Sequence[int],
    number: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients of the input, of a second map and of learned numbers, by kernels that look at the input again."""
    compiled = plan_of(name, plan, number, x, g)
    apart = compiled.over == 1
    made = torch.zeros_like if apart and not _tiled(compiled, plan, x) else torch.empty_like
    to = made(x)
    to_other = None if other is None else made(other)
    read_too = {"other": other, "numbers": numbers}
    if apart:
        return to, to_other, _spread_out(g, x, compiled, plan, **read_too, to=to, to_other=to_other)
    kept = torch.empty((compiled.shared, g.numel()), dtype=wide(x[:0]).dtype, device=x.device)
    compiled = plan_of(name, plan, number, x, g, kept)
    to_numbers = _spread_out(g, x, compiled, plan, **read_too, kept=kept)
    _gathered(to, compiled, plan, x=x, **read_too, to_other=to_other, kept=kept)
    return to, to_other, to_numbers


def _tiled(compiled: Plan, plan: Sequence[int], x: Tensor) -> bool:
    """Whether windows that do not meet hold every number."""
    filled = compiled.kh * plan[8], compiled.kw * plan[9]
    return compiled.whole and compiled.count == compiled.sh * compiled.sw and filled == tuple(x.shape[2:])


def _gathered(
    to: Tensor,
    compiled: Plan,
    plan: Sequence[int],
    *,
    g: Tensor | None = None,
    x: Tensor | None = None,
    position: Tensor | None = None,
    other: Tensor | None = None,
    numbers: Tensor | None = None,
    to_other: Tensor | None = None,
    kept: Tensor | None = None,
) -> None:
    sizes = *sizes_of(to, plan), to.shape[0] * to.shape[1]
    launch(_gather, to, sizes, g, x, position, other, numbers, to, to_other, kept, PLAN=compiled)


def _spread_out(
    g: Tensor,
    x: Tensor,
    compiled: Plan,
    plan: Sequence[int],
    *,
    other: Tensor | None,
    numbers: Tensor | None,
    to: Tensor | None = None,
    to_other: Tensor | None = None,
    kept: Tensor | None = None,
) -> Tensor | None:
    """The gradient of the learned numbers (count, N, C), if there are such; it writes those of the maps."""
    height, width, rows, columns, channels = sizes_of(x, plan)
    planes = x.shape[0] * x.shape[1]
    many = triton.next_power_of_2(rows * columns)
    if compiled.last:
        side = min(triton.next_power_of_2(channels), CHANNELS)
        many = min(many, NUMBERS // side)
        first, third = x.shape[0], triton.cdiv(channels, side)
    else:
        many = min(many, NUMBERS)
        side = NUMBERS // many
        first, third = triton.cdiv(planes, side), 1
    grid = first, triton.cdiv(rows * columns, many), third
    count = 0 if numbers is None else len(numbers)
    sums = None if numbers is None else numbers.new_empty(count, grid[1], *x.shape[:2])
    run(
        *(_spread, x, grid, g, x, other, numbers, to, to_other, sums, kept),
        *(height, width, rows, columns, channels, planes),
        **{"LEARNED": count, "PLAN": compiled, "WINDOWS": many, "PLANES": side},
    )
    return None if sums is None else sums.sum(1)


def _blur(x: Tensor, y: Tensor, taps: Tensor, name: str, plan: Sequence[int]) -> None:
    """A filter of windows' maxima, which are written out before, or means, whose windows the filter takes in."""
    inner = plan[OWN:]
    if name == "max_blur":
        dense = fakes.like(x, inner[8], inner[9], plan[16], len(x))
        forward(x, plan_of("max", inner, 0.0, x, dense), inner, y=dense)
        x = dense
    banded(x, y, taps, plan[:OWN], None if name == "max_blur" else inner, False)


def _blur_backward(g: Tensor, x: Tensor | None, taps: Tensor, name: str, plan: Sequence[int]) -> Tensor:
    """Of maxima: the gradient of each one, where it lies, and what each number receives from them."""
    inner = plan[OWN:]
    height, width = inner[-2:]
    to = fakes.like(g, height, width, plan[16], len(g))
    if name != "max_blur":
        banded(g, to, taps, plan[:OWN], inner, True)
        return to
    assert x is not None
    between = fakes.like(wide(x[:0]), inner[8], inner[9], plan[16], len(x))
    banded(g, between, taps, plan[:OWN], None, True)
    position = fakes.like(x, inner[8], inner[9], plan[16], len(x), torch.uint8)
    compiled = plan_of("max", inner, 0.0, x, between)
    forward(x, compiled, inner, position=position)
    _gathered(to, compiled, inner, g=between, position=position)
    return to
