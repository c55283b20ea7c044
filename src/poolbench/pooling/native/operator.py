"""Kernels as operators of torch: with gradients of any order, for torch.compile, and with the formula in reserve."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, is_grad_enabled
from torch.compiler import is_compiling

from poolbench.pooling.native.build import KERNELS
from poolbench.pooling.native.fakes import KEEPS, format_of
from poolbench.pooling.native.plan import numbers_of, written
from poolbench.pooling.native.selection import TRITON, backend
from poolbench.pooling.transforms import transformable
from poolbench.pooling.window import Window, wide

OPS = torch.ops.poolbench
BORDERS = ("zero", "reflect", "replicate", "circular")
ON_CPU_TYPES = (torch.float32, torch.float64, torch.bfloat16)
ON_GPU_TYPES = (*ON_CPU_TYPES, torch.float16)
ON_GPU = (
    *("max", "average", "mixed", "coin", "subsample", "lp", "stochastic", "expectation", "softpool", "median"),
    *("blur", "max_blur", "average_blur", "cells"),
    *("detail_preserving", "adapool", "lp_learned", "ordinal", "lip", "gated"),
)
"""Operators that have a kernel for GPUs too, in `gpu`."""
MOST_PLANS = 1000
"""Of windows on maps of so many shapes and layouts what kernels are told is kept."""
EVERY = 254
"""In place of a position: all of them, equally. A window of so many is left to the formula."""
LOOKS = ("lp", "expectation", "softpool", "median", "max_blur")
"""Kernels whose backward pass reads the input again."""
LINEAR = ("average", "subsample")
"""Those whose backward pass needs nothing."""
Formula = Callable[[Tensor], Tensor]
SwitchesFormula = Callable[[Tensor], tuple[Tensor, Tensor]]
RegionFormula = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Told = tuple[str, bool]
"""What a kernel is told of windows (`plan`), and whether channels come last."""
Call = tuple[str, str, bool, float, Window, Formula]
"""A kernel's name, what it is told, its own number, the windows, and what it computes."""
PIXEL = Window.of(1, 1, 0, 1, False)
"""Windows of one pixel each: the map itself."""


@transformable
def slide(
    name: str,
    x: Tensor,
    window: Window,
    formula: Formula,
    number: float = 0.0,
    chance: Callable[[Tensor], Tensor] | None = None,
    counted: bool = True,
    centre: int = -1,
) -> Tensor:
    """The operator `name` over the windows of `x`, (N, C, H, W) to (N, C, H', W'): by its kernel, or by `formula`.

    `number` is the operator's own; `chance` draws a seed, uniform numbers or a coin for each plane of `x`; `counted`:
    an average counts the padding; `centre` the one position that is looked at.
    """
    x, told = _told(name, x, window, _slid, (counted, centre))
    if told is None:
        return formula(x)
    return _run(name, x, window, told, formula, number, chance(x) if chance else None)


@transformable
def switches(x: Tensor, window: Window, formula: SwitchesFormula) -> tuple[Tensor, Tensor]:
    """The maximum of each window and the position r·W + c in the map where it lies, an int64: (N, C, H', W') both."""
    x, told = _told("max", x, window, _slid, (True, -1))
    if told is None:
        return formula(x)
    if x.requires_grad and is_grad_enabled():
        result: tuple[Tensor, Tensor] = Switches.apply(x, ("max", *told, 0.0, window, formula))
        return result
    y, _, index = OPS.switches.default(x, told[0])
    return y, index


@transformable
def blurred(
    name: str,
    x: Tensor,
    dense: Window,
    taps: Tensor,
    stride: tuple[int, int],
    border: str,
    formula: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """A separable filter at a stride, its middle on each position kept, of the windows `dense` at stride 1.

    (N, C, H, W) to (N, C, ⌈H / s⌉, ⌈W / s⌉): of their maxima (max_blur) or means (average_blur), and nothing of the map
    between is kept; or of the map itself (blur), in windows of one `PIXEL`.
    """
    size = taps.shape[0]
    x, told = _told(name, x, dense, _filtered, (size, stride, border), size)
    if told is None:
        return formula(x, taps)
    return _run(name, x, dense, told, lambda x: formula(x, taps), 0.0, wide(taps))


def laid_out(x: Tensor) -> tuple[Tensor, bool]:
    """`x` (N, C, H, W) in one of the two layouts that kernels take, and whether that is channels_last."""
    if x.is_contiguous():
        return x, False
    if x.is_contiguous(memory_format=torch.channels_last):
        return x, True
    return x.contiguous(), False


def _told(
    name: str, x: Tensor, window: Window, plan: Callable[..., tuple[int, ...]], options: tuple[Any, ...], size: int = 1
) -> tuple[Tensor, Told | None]:
    """`x` as the kernel `name` takes it, and what that is told of the windows: None where there is no kernel.

    On a CPU it is kept for the next time, since all this takes as long as a small map. `size` is that of a filter.
    """
    kept = x.is_cpu and backend().name == "native" and not is_compiling()
    key = (x.shape, x.stride(), x.dtype, options) if kept else None
    if told := window.plans.get(key):
        return x, told
    if not usable(name, x, *(max(size, side) for side in window.kernel)):
        return x, None
    laid, last = laid_out(x)
    told = written(plan(window, *x.shape[-2:], int(last), *options)), last
    if kept and laid is x and len(window.plans) < MOST_PLANS:
        window.plans[key] = told
    return laid, told


def _slid(window: Window, height: int, width: int, last: int, counted: bool, centre: int) -> tuple[int, ...]:
    return *window.plan(height, width, counted), centre, 0, last, height, width


def _filtered(
    dense: Window, height: int, width: int, last: int, size: int, stride: tuple[int, int], border: str
) -> tuple[int, ...]:
    between, before = dense.shape(height, width), (size - 1) // 2
    steps = [min(step, length) for step, length in zip(stride, between, strict=True)]  # further on lies nothing
    rows, columns = (-(-length // step) for length, step in zip(between, steps, strict=True))
    plan = (size, size, *steps, 1, 1, before, before, rows, columns, 0, 0, 0, 0, -1, BORDERS.index(border))
    return *plan, last, *between, *_slid(dense, height, width, last, True, -1)


def _run(
    name: str,
    x: Tensor,
    window: Window,
    told: Told,
    formula: Formula,
    number: float,
    extra: Tensor | None,
) -> Tensor:
    if x.requires_grad and is_grad_enabled():
        return Slide.apply(x, extra, (name, *told, number, window, formula))
    return OPS.slide.default(x, extra, name, told[0], number)


LearnedFormula = Callable[..., Tensor]
"""Of x, the learned numbers and, where the operator reads one, the second map."""


@transformable
def learned(
    name: str,
    x: Tensor,
    window: Window,
    numbers: Tensor,
    formula: LearnedFormula,
    number: float = 0.0,
    other: Tensor | None = None,
) -> Tensor:
    """The operator `name` with learned numbers, (count, N or 1, C or 1, 1, 1), over the windows of `x`.

    `other` is a second map as large as `x`, which the operator reads beside it; `number` is the operator's own.
    """
    x, told = _told(name, x, window, _slid, (True, -1))
    others: tuple[Tensor, ...] = () if other is None else (other,)
    if told is None:
        return formula(x, numbers, *others)
    others = tuple(each.to(x.dtype).contiguous(memory_format=format_of(told[1])) for each in others)
    return _run_learned(name, told, formula, number, x, numbers, *others)


def _run_learned(name: str, told: Told, formula: LearnedFormula, number: float, *inputs: Tensor) -> Tensor:
    if is_grad_enabled() and any(each.requires_grad for each in inputs):
        return Learned.apply((name, *told, number, formula), *inputs)
    return _learned(name, told[0], number, *inputs)


def _learned(name: str, plan: str, number: float, x: Tensor, numbers: Tensor, *others: Tensor) -> Tensor:
    other = others[0] if others else None
    return OPS.learned.default(x, other, _of_planes(numbers, x), name, plan, number)


def _of_planes(numbers: Tensor, x: Tensor) -> Tensor:
    """The learned numbers of each plane of `x`."""
    return numbers.to(wide(x[:0]).dtype).expand(-1, *x.shape[:2], 1, 1).contiguous()


def usable(name: str, x: Tensor, rows: int, columns: int) -> bool:
    """Whether there is a kernel `name` for this input; an export to other runtimes takes the formula too."""
    assert KERNELS  # what runs depends on them
    return (
        backend().name == "native"
        and (
            x.dtype in ON_CPU_TYPES if x.is_cpu else x.is_cuda and TRITON and name in ON_GPU and x.dtype in ON_GPU_TYPES
        )
        and x.dim() == 4
        and x.numel() > 0
        and rows * columns < EVERY
        and not _exporting()
    )


def _exporting() -> bool:
    """Whether torch.export traces this; torch 2.11 says so of torch.compile, too."""
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()


class Slide(torch.autograd.Function):
    """A kernel with its gradient; the gradient of the gradient is that of the formula."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, extra: Tensor | None, call: Call) -> Tensor:
        name, plan, _, number, *_ = call
        ctx.call = call
        if name in KEEPS:
            y, position = OPS.slide_keeping.default(x, extra, name, plan, number)
            ctx.save_for_backward(None, position, None)
            return y
        if name not in LINEAR:
            ctx.save_for_backward(x if name in LOOKS else None, None, extra if "blur" in name else None)
        return OPS.slide.default(x, extra, name, plan, number)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (name, plan, last, number, *_) = gradients, ctx.call
        x, position, extra = ctx.saved_tensors or (None, None, None)
        if is_grad_enabled() and not is_compiling():
            return _differentiable(ctx.call, gradient, x, position), None, None
        gradient = gradient.contiguous(memory_format=format_of(last))
        return OPS.slide_backward.default(gradient, x, position, extra, name, plan, number), None, None


class Switches(torch.autograd.Function):
    """The kernel of the maximum with what it keeps for its gradient, told as positions in the map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        y, position, index = OPS.switches.default(x, call[1])
        ctx.call = call
        ctx.save_for_backward(None, position, None)
        ctx.mark_non_differentiable(index)
        ctx.set_materialize_grads(False)  # those of indices would be a map of zeros
        return y, index

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        gradient = gradients[0]
        return None if gradient is None else Slide.backward(ctx, gradient)[0], None


def _differentiable(call: Call, gradient: Tensor, x: Tensor | None, position: Tensor | None) -> Tensor:
    """The backward pass in operators that autograd differentiates."""
    name, plan, _, number, window, formula = call
    shape = *gradient.shape[:2], *numbers_of(plan)[-2:]
    if position is None:
        at = gradient.new_zeros(shape).requires_grad_() if x is None else x  # linear: anywhere
        return torch.autograd.grad(formula(at), at, gradient, create_graph=True)[0]
    share, rest = gradient, torch.zeros_like(gradient)
    if name in ("mixed", "coin"):
        rows, columns = window.covered(shape[-2:], padding=True)
        members = gradient.new_tensor(rows).outer(gradient.new_tensor(columns))
        weight = number if name == "mixed" else (position != EVERY).to(gradient)
        share, rest = gradient * weight, gradient * (1 - weight) / members
    height, width = window.kernel
    parts = (share.where(position == place, 0) + rest for place in range(height * width))
    return window.scatter(parts, shape, gradient)


class Learned(torch.autograd.Function):
    """A kernel with learned numbers, and the gradients of all that it reads; theirs are those of the formula."""

    @staticmethod
    def forward(ctx: Any, call: tuple[str, str, bool, float, LearnedFormula], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.call = call
        name, plan, _, number, _ = call
        return _learned(name, plan, number, *inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, numbers, *others) = gradients, ctx.saved_tensors
        name, plan, last, number, formula = ctx.call
        needed = ctx.needs_input_grad[1:]
        if is_grad_enabled() and not is_compiling():
            inputs = apart(x, numbers, *others)
            wanted = [each for each, need in zip(inputs, needed, strict=True) if need]
            found = iter(torch.autograd.grad(formula(*inputs), wanted, gradient, create_graph=True))
            return None, *(next(found) if need else None for need in needed)
        gradient = gradient.contiguous(memory_format=format_of(last))
        to_x, to_other, to_numbers = OPS.learned_backward.default(
            gradient, x, others[0] if others else None, _of_planes(numbers, x), name, plan, number
        )
        to_numbers = to_numbers[..., None].sum_to_size(numbers.shape).to(numbers.dtype)
        return None, to_x, to_numbers, *([to_other] if others else [])


def apart(*inputs: Tensor) -> list[Tensor]:
    """The same, none of them made of another: what one does by another is that one's gradient, and not its own too."""
    return [each.view_as(each) for each in inputs]


@transformable
def mixture(x: Tensor, shares: Tensor, window: Window, formula: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Each position of windows that tile a map by its share, (N, k²), the same in a whole picture; 0 leaves it out."""
    x, told = _told("mixture", x, window, _slid, (False, -1))
    if told is None:
        return formula(x, shares)
    shares = shares.to(torch.promote_types(x.dtype, torch.float32)).contiguous()
    if is_grad_enabled() and (x.requires_grad or shares.requires_grad):
        return Mixture.apply(x, shares, window, told, formula)
    return OPS.slide.default(x, shares, "mixture", told[0], 0.0)


class Mixture(torch.autograd.Function):
    """The kernel of a mixture with its gradients; the gradient of the gradient is that of the formula."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shares: Tensor,
        window: Window,
        told: Told,
        formula: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, shares)
        ctx.window, ctx.told, ctx.formula = window, told, formula
        return OPS.slide.default(x, shares, "mixture", told[0], 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, shares), (plan, last) = gradients, ctx.saved_tensors, ctx.told
        if is_grad_enabled() and not is_compiling():
            shape = *gradient.shape[:2], *numbers_of(plan)[-2:]
            at = gradient.new_zeros(shape).requires_grad_() if x is None else x  # linear: anywhere
            inputs = apart(at, shares)
            wanted = [each for each in inputs if each.requires_grad]
            found = iter(torch.autograd.grad(ctx.formula(*inputs), wanted, gradient, create_graph=True))
            return *(next(found) if each.requires_grad else None for each in inputs), None, None, None
        gradient = gradient.contiguous(memory_format=format_of(last))
        back = OPS.slide_backward.default(gradient, None, None, shares, "mixture", plan, 0.0)
        if x is None:
            return back, None, None, None, None
        products = ctx.window.tiles(wide(x)) * wide(gradient).permute(0, 2, 3, 1)[:, :, None, :, None]
        by_shares = products.sum(1).sum((2, 4)).flatten(1)
        return back, by_shares.where(shares != 0, 0), None, None, None


@transformable
def powers(x: Tensor, window: Window, p: float, formula: Formula) -> Tensor:
    """Σ |x|^p in float64 by position of windows that tile a map: (N, C, H, W) to (N, k²)."""
    if not usable("polyphase_powers", x, *window.kernel):
        return formula(x)
    x, last = laid_out(x)
    return OPS.polyphase_powers.default(x, *window.kernel, p, last).flatten(1)


@transformable
def separable(x: Tensor, rows: Tensor, columns: Tensor, formula: Formula) -> Tensor:
    """Maps multiplied by a matrix for their rows, (H', H), and one for their columns, (W', W): (N, C, H', W')."""
    if not usable("separable", x, 1, 1):
        return formula(x)
    x, last = laid_out(x)
    result: Tensor = Separable.apply(x, rows, columns, last)
    return result


class Separable(torch.autograd.Function):
    """The kernel of two matrices; the way back is that of the matrices transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, columns: Tensor, last: bool) -> Tensor:
        ctx.save_for_backward(rows, columns)
        ctx.last = last
        return OPS.separable.default(x, rows, columns, last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (rows, columns) = gradients, ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=format_of(ctx.last))
        back = Separable.apply(gradient, rows.T.contiguous(), columns.T.contiguous(), ctx.last)
        return back, None, None, None


@transformable
def cells(x: Tensor, tall: int, wide: int, plan: Callable[[], tuple[str, str]], formula: Formula) -> Tensor:
    """The maximum of each region of a grid, (N, C, H, W) to (N, C, H', W'): by its kernel, or by `formula`.

    No region is taller or wider than said; `plan` gives the edges of rows and columns, unless in a graph to compile:
    first and last position of each region, one after the other, as they are `written`.
    """
    if is_compiling() or not usable("cells", x, tall, wide):
        return formula(x)
    x, last = laid_out(x)
    if x.requires_grad and is_grad_enabled():
        return Cells.apply(x, *plan(), last)
    return OPS.cells.default(x, *plan(), last, False)[0]


class Cells(torch.autograd.Function):
    """The kernel of a grid's maxima with its gradient, which again is differentiable: it is linear."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: str, columns: str, last: bool) -> Tensor:
        y, position = OPS.cells.default(x, rows, columns, last, True)
        ctx.save_for_backward(position)
        ctx.plan = (rows, columns, *x.shape[-2:], last)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (position,) = gradients, ctx.saved_tensors
        return CellsBackward.apply(gradient, position, *ctx.plan), None, None, None


@transformable
def cell_switches(
    x: Tensor, tall: int, wide: int, plan: Callable[[], tuple[str, str]], formula: SwitchesFormula
) -> tuple[Tensor, Tensor]:
    """The maxima of `cells`, and the position r·W + c in the map where each lies, an int64: (N, C, H', W') both."""
    if is_compiling() or not usable("cells", x, tall, wide):
        return formula(x)
    x, last = laid_out(x)
    if x.requires_grad and is_grad_enabled():
        result: tuple[Tensor, Tensor] = CellSwitches.apply(x, *plan(), last)
        return result
    y, _, index = OPS.cell_switches.default(x, *plan(), last)
    return y, index


class CellSwitches(torch.autograd.Function):
    """The kernel of a grid's maxima with what it keeps for its gradient, told as positions in the map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: str, columns: str, last: bool) -> tuple[Tensor, Tensor]:
        y, position, index = OPS.cell_switches.default(x, rows, columns, last)
        ctx.save_for_backward(position)
        ctx.plan = (rows, columns, *x.shape[-2:], last)
        ctx.mark_non_differentiable(index)
        ctx.set_materialize_grads(False)  # those of indices would be a map of zeros
        return y, index

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        gradient = gradients[0]
        return None if gradient is None else Cells.backward(ctx, gradient)[0], None, None, None


class CellsBackward(torch.autograd.Function):
    """The way back; its own gradient takes from each cell's position what came there."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, position: Tensor, rows: str, columns: str, h: int, w: int, last: bool
    ) -> Tensor:
        ctx.save_for_backward(position)
        ctx.plan = (rows, columns, last)
        gradient = gradient.contiguous(memory_format=format_of(last))
        return OPS.cells_backward.default(gradient, position, rows, columns, h, w, last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (position,) = gradients, ctx.saved_tensors
        return CellsTaken.apply(gradient, position, *ctx.plan), *(None,) * 6


class CellsTaken(torch.autograd.Function):
    """What lies where each cell's maximum was; its gradient goes back there, as that of the maximum does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, position: Tensor, rows: str, columns: str, last: bool) -> Tensor:
        ctx.save_for_backward(position)
        ctx.plan = (rows, columns, *x.shape[-2:], last)
        x = x.contiguous(memory_format=format_of(last))
        return OPS.cells_taken.default(x, position, rows, columns, last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (position,) = gradients, ctx.saved_tensors
        return CellsBackward.apply(gradient, position, *ctx.plan), *(None,) * 4


@transformable
def region_maxima(
    x: Tensor,
    picture: Tensor,
    rows: Tensor,
    columns: Tensor,
    formula: RegionFormula,
) -> Tensor:
    """Where a maximum of each cell of each box lies in the flattened maps, the first: (K, H', W', C); anywhere if none.

    A box has its picture (K,), and of cells its rows (2, K, H') and columns (2, K, W'): their firsts and those after
    their lasts.
    """
    if not usable("region_maxima", x, 1, 1):
        return formula(x, picture, rows, columns)
    return OPS.region_maxima.default(x.contiguous(memory_format=torch.channels_last), picture, rows, columns)
