"""Kernels as operators of torch: with gradients of any order, for torch.compile, and with the formula in reserve."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from poolbench.pooling.native.build import KERNELS
from poolbench.pooling.native.selection import backend
from poolbench.pooling.window import Window, layout, wide

BORDERS = ("zero", "reflect", "replicate", "circular")
TYPES = (torch.float32, torch.float64, torch.bfloat16)
MOST = 255
"""A window of so many positions is left to the formula: one byte tells one position from another."""
LOOKS = ("lp", "expectation", "softpool", "max_blur")
"""Kernels whose backward pass reads the input again; the others keep one byte for each output, or nothing."""
Formula = Callable[[Tensor], Tensor]


def slide(
    name: str,
    x: Tensor,
    window: Window,
    formula: Formula,
    number: float = 0.0,
    chance: Callable[[], Tensor] | None = None,
    counted: bool = True,
    centre: int = -1,
) -> Tensor:
    """The operator `name` over the windows of `x`, (N, C, H, W) to (N, C, H', W'): by its kernel, or by `formula`.

    `number` is the operator's own; `chance` draws a seed or uniform numbers; `counted`: an average counts the padding;
    `centre` the one position that is looked at.
    """
    if not usable(x, *window.kernel):
        return formula(x)
    height, width = x.shape[-2:]
    plan = (*window.plan(height, width, counted), centre, 0)
    return _run(name, x, window, plan, formula, number, chance() if chance else None)


def blur(x: Tensor, taps: Tensor, stride: tuple[int, int], border: str, formula: Formula) -> Tensor:
    """A separable filter at a stride, its middle on each position kept: (N, C, H, W) to (N, C, ⌈H / s⌉, ⌈W / s⌉)."""
    if not usable(x, len(taps), len(taps)):
        return formula(x)
    height, width = x.shape[-2:]
    return _run("blur", x, None, _filter(height, width, taps, stride, border), formula, 0.0, wide(taps))


def blurred(
    name: str, x: Tensor, dense: Window, taps: Tensor, stride: tuple[int, int], border: str, formula: Formula
) -> Tensor:
    """`max` or `average` over windows at stride 1, then `blur`, without the map between them: `name` is `<which>_blur`."""
    if not usable(x, *dense.kernel):
        return formula(x)
    height, width = x.shape[-2:]
    inner = (*dense.plan(height, width, counted=True), -1, 0)
    plan = _filter(*dense.shape(height, width), taps, stride, border)
    return _run(name, x, None, plan, formula, 0.0, wide(taps), inner)


def _filter(height: int, width: int, taps: Tensor, stride: tuple[int, int], border: str) -> tuple[int, ...]:
    size, before = len(taps), (len(taps) - 1) // 2
    rows, columns = -(-height // stride[0]), -(-width // stride[1])
    return (size, size, *stride, 1, 1, before, before, rows, columns, 0, 0, 0, 0, -1, BORDERS.index(border))


def _run(
    name: str,
    x: Tensor,
    window: Window | None,
    plan: tuple[int, ...],
    formula: Formula,
    number: float,
    extra: Tensor | None,
    inner: tuple[int, ...] = (),
) -> Tensor:
    x = x.contiguous(memory_format=layout(x))
    plan = (*plan, int(layout(x) == torch.channels_last), *inner)
    if torch.is_grad_enabled() and x.requires_grad:
        return Slide.apply(x, extra, name, window, plan, number, formula)
    return torch.ops.poolbench.slide.default(x, extra, name, plan, number, False)[0]


def usable(x: Tensor, rows: int, columns: int) -> bool:
    """Whether there is a kernel for this input; an export to other runtimes takes the formula too."""
    assert KERNELS  # what runs depends on them
    return (
        backend().name == "native"
        and x.device.type == "cpu"
        and x.dtype in TYPES
        and x.dim() == 4
        and x.numel() > 0
        and rows * columns < MOST
        and not torch.compiler.is_exporting()
    )


class Slide(torch.autograd.Function):
    """A kernel with its gradient; the gradient of the gradient is that of the formula."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        extra: Tensor | None,
        name: str,
        window: Window | None,
        plan: Sequence[int],
        number: float,
        formula: Formula,
    ) -> Tensor:
        y, position = torch.ops.poolbench.slide.default(x, extra, name, plan, number, True)
        ctx.save_for_backward(
            x if name in LOOKS else None, position if len(position) else None, extra if "blur" in name else None
        )
        ctx.name, ctx.window, ctx.plan, ctx.number, ctx.formula = name, window, plan, number, formula
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, position, extra) = gradients, ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _differentiable(ctx, gradient, x, position), None, None, None, None, None, None
        memory_format = torch.channels_last if ctx.plan[16] else torch.contiguous_format
        gradient = gradient.contiguous(memory_format=memory_format)
        height, width = ctx.shape[-2:]
        back = torch.ops.poolbench.slide_backward.default(
            gradient, x, position, extra, ctx.name, ctx.plan, height, width, ctx.number
        )
        return back, None, None, None, None, None, None


def _differentiable(ctx: Any, gradient: Tensor, x: Tensor | None, position: Tensor | None) -> Tensor:
    """The backward pass in operators that autograd differentiates."""
    if position is None:
        at = gradient.new_zeros(ctx.shape).requires_grad_() if x is None else x  # linear: anywhere
        return torch.autograd.grad(ctx.formula(at), at, gradient, create_graph=True)[0]
    share, rest = gradient, torch.zeros_like(gradient)
    if ctx.name == "mixed":
        rows, columns = ctx.window.covered(ctx.shape[-2:], padding=True)
        members = gradient.new_tensor(rows).outer(gradient.new_tensor(columns))
        share, rest = gradient * ctx.number, gradient * (1 - ctx.number) / members
    height, width = ctx.window.kernel
    parts = (share.where(position == place, 0) + rest for place in range(height * width))
    return ctx.window.scatter(parts, ctx.shape, gradient)
