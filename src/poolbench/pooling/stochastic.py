"""Local operators that draw random numbers in training."""

from typing import Any

import torch
from torch import Tensor

from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Padding, Size, Window, layout

EMPTY = 255
"""In place of a position: the window held nothing positive, so nothing was drawn and no gradient returns."""


class Draw(torch.autograd.Function):
    """One position of each window, drawn in proportion to its value; keeps one byte per output for the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, uniform: Tensor, window: Window) -> Tensor:
        first, *others = window.views(window.pad(x.clamp(min=0), 0))
        total = sum(others, first.float())
        threshold = uniform * total
        value, passed = first, first.float()
        position = torch.zeros_like(threshold, dtype=torch.uint8)
        for number, view in enumerate(others, start=1):
            beyond = threshold >= passed
            value = torch.where(beyond, view, value)
            position.masked_fill_(beyond, number)
            passed = passed + view
        position.masked_fill_(total == 0, EMPTY)
        ctx.save_for_backward(position)
        ctx.window, ctx.shape = window, x.shape
        return torch.where(total.isfinite(), value, torch.nan).contiguous(memory_format=layout(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (position,) = gradients, ctx.saved_tensors
        rows, columns = ctx.window.kernel
        parts = (gradient.where(position == number, 0) for number in range(rows * columns))
        return ctx.window.scatter(parts, ctx.shape, gradient), None, None


@register(
    "stochastic",
    "local",
    title="Stochastic pooling",
    formula="training: y = x_k with probability x_k / Σ x; evaluation: y = Σ x² / Σ x",
    paper=Paper(
        "Zeiler, Fergus",
        2013,
        "Stochastic pooling for regularization of deep convolutional neural networks",
        "https://arxiv.org/abs/1301.3557",
    ),
    gradient="training: all of it to the position drawn; evaluation: that of the quotient",
    numbers="negatives count as 0; a window without a positive value gives 0 and no gradient; NaN or +inf gives NaN",
    departs="unmaintained copies draw from a softmax, which is another operator",
    random=True,
)
class Stochastic(Local):
    """A value of each window, drawn in proportion to itself: (N, C, H, W) to (N, C, H', W').

    Evaluation gives the expectation of the draw.

    >>> import torch
    >>> Stochastic(2).eval()(torch.tensor([[[[1., 3.], [0., 0.]]]])).item()
    2.5
    """

    def __init__(
        self,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        rows, columns = self.window.kernel
        if rows * columns > EMPTY:
            raise ValueError(f"kernel_size must hold at most {EMPTY} positions, got {rows} x {columns}")

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            height, width = self.window.shape(*x.shape[-2:])
            uniform = torch.rand(*x.shape[:-2], height, width, device=x.device)
            return Draw.apply(x, uniform, self.window)
        first, *others = self.window.views(self.window.pad(x.clamp(min=0), 0))
        total = sum(others, first.float())
        weights = 1 / total.where(total != 0, 1)
        mean = sum((view * weights * view for view in others), first * weights * first)
        return mean.to(x.dtype, memory_format=layout(x))
