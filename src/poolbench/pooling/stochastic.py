"""Local operators that draw random numbers in training."""

from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.pooling.fixed import Average, maximum
from poolbench.pooling.native import cells, slide, written
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.transforms import transformable
from poolbench.pooling.window import Local, Padding, Size, Window, layout, wide

POSITIONS = 255
"""So many a window holds at most: the one drawn is kept in a byte, counted from 1; 0: nothing was positive."""
SHARE = 2.0**-8
"""Values are summed by this part of theirs: a window holds fewer than 2⁸, so that their sum cannot overflow."""


class Draw(torch.autograd.Function):
    """One position of each window, drawn in proportion to its value; keeps one byte per output for the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, uniform: Tensor, window: Window) -> Tensor:
        # Copied once, since every pass over a strided view costs as much as the copy.
        views = (wide(view).contiguous(memory_format=layout(x)) for view in window.views(window.pad(x, 0)))
        first, *others = (view.clamp(min=0) for view in views)
        total = summed([first, *others])
        threshold = uniform * total
        value, passed = first, first * SHARE
        position = (first > 0).to(torch.uint8)
        for number, view in enumerate(others, 2):
            beyond = (threshold >= passed) & (view > 0)
            value = value.lerp(view, beyond.to(value))  # as torch.where, which takes twenty times as long on a CPU
            position = position.maximum(beyond.to(torch.uint8) * number)
            passed = torch.add(passed, view, alpha=SHARE)
        ctx.save_for_backward(position)
        ctx.window, ctx.shape = window, x.shape
        return torch.add(value, total, alpha=0).to(x.dtype).contiguous(memory_format=layout(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (position,) = gradients, ctx.saved_tensors
        rows, columns = ctx.window.kernel
        parts = (gradient.where(position == number, 0) for number in range(1, rows * columns + 1))
        return ctx.window.scatter(parts, ctx.shape, gradient), None, None


def seed(x: Tensor) -> Tensor:
    """Of the random numbers of one pass, from torch's generator."""
    return torch.randint(2**63 - 1, (1,))


def drawn(x: Tensor, window: Window) -> Tensor:
    """A value of each window, drawn in proportion to itself: (N, C, H, W) to (N, C, H', W')."""
    height, width = window.shape(*x.shape[-2:])
    uniform = torch.rand(*x.shape[:-2], height, width, device=x.device, dtype=wide(x).dtype)
    return Draw.apply(x, uniform, window)


def expectation(x: Tensor, window: Window) -> Tensor:
    """The mean of such draws."""
    values = window.split(wide(x).masked_fill(x <= 0, 0))  # a clamp's gradient at 0 differs between releases of torch
    total = summed(values)
    total = total.where(total != 0, 1)
    mean = reduce(torch.add, (value * SHARE / total * value for value in values))
    return mean.to(x.dtype).contiguous(memory_format=layout(x))


def summed(views: list[Tensor]) -> Tensor:
    """The sum of the views, times `SHARE`."""
    total = wide(views[0]) * SHARE
    for view in views[1:]:
        total = torch.add(total, view, alpha=SHARE)
    return total


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

    Evaluation gives the expectation of the draw. From the same seed a map in another memory format draws other numbers.

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
        if rows * columns > POSITIONS:
            raise ValueError(f"kernel_size must hold at most {POSITIONS} positions, got {rows} x {columns}")

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return slide("stochastic", x, self.window, lambda x: drawn(x, self.window), chance=seed)
        return slide("expectation", x, self.window, lambda x: expectation(x, self.window))


@register(
    "mixed_coin",
    "local",
    title="Mixed pooling by coin",
    formula="training: y = λ max_k x_k + (1 - λ)/k² Σ_k x_k, λ a fair coin; evaluation: the one drawn more often",
    paper=Paper(
        "Yu, Wang, Chen, Wei",
        2014,
        "Mixed pooling for convolutional neural networks",
        "https://doi.org/10.1007/978-3-319-11740-9_34",
    ),
    gradient="that of max or of average, whichever was drawn",
    numbers="as max or as average",
    departs="often taken for the learned mixture of Lee 2016, which is `mixed`",
    random=True,
)
class MixedCoin(Local):
    """Max or average pooling by the toss of a coin for each map: (N, C, H, W) to (N, C, H', W').

    Evaluation takes, for each channel, what training drew more often: the maximum where that is equal.

    >>> import torch
    >>> MixedCoin(1).eval()(torch.tensor([[[[1., 5.], [0., 2.]]]])).item()
    5.0
    """

    lead: Tensor

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.average = Average(kernel_size, stride, padding, ceil_mode)
        self.register_buffer("lead", torch.zeros(channels, 1, 1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            heads = torch.rand(*x.shape[:2], 1, 1, device=x.device) < 0.5
            self.lead += 2 * heads.sum(0) - len(heads)
        else:
            heads = self.lead >= 0
        return tossed(x, heads, self.window, self.average)


@transformable
def tossed(x: Tensor, heads: Tensor, window: Window, average: Average) -> Tensor:
    """The maximum of maps whose coin shows its head, (N or 1, C, 1, 1), the mean of the others."""

    def either(x: Tensor) -> Tensor:
        return torch.where(heads, maximum(x, window), average(x)).contiguous(memory_format=layout(x))

    def spread(x: Tensor) -> Tensor:
        return heads.expand(*x.shape[:2], 1, 1).to(torch.promote_types(x.dtype, torch.float32)).contiguous()

    return slide("coin", x, window, either, chance=spread)


@register(
    "s3",
    "local",
    title="S3Pool (stochastic spatial sampling)",
    formula="m = max at stride 1; training: g/s rows and columns of m drawn of every g; evaluation: mean of s x s",
    paper=Paper(
        "Zhai, Wu, Kumar, Cheng, Lu, Zhang, Feris",
        2017,
        "S3Pool: pooling with stochastic spatial sampling",
        "https://arxiv.org/abs/1611.05138",
    ),
    gradient="training: all of it to the maximum that was kept; evaluation: equal shares to the maxima of the cell",
    numbers="as max; evaluation as average of the maxima",
    departs="the paper pads the first step so that the map keeps its size: padding='same'",
    random=True,
)
class S3(Local):
    """Max pooling at stride 1, then rows and columns drawn at random: (N, C, H, W) to (N, C, H', W').

    The rows are cut into strips of `grid_size` (the stride unless given, and a multiple of it), of which each keeps one
    in `stride`; so are the columns. The draw is the same for all pictures and channels of a batch.

    >>> import torch
    >>> S3()(torch.zeros(1, 3, 28, 28)).shape
    torch.Size([1, 3, 14, 14])
    """

    def __init__(
        self,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        grid_size: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dense = Window.of(kernel_size, 1, padding, 1, False)
        if grid_size is not None and (grid_size < 1 or any(grid_size % step for step in self.window.stride)):
            raise ValueError(f"grid_size must be a multiple of the stride {self.window.stride}, got {grid_size}")
        self.grid = self.window.stride if grid_size is None else (grid_size, grid_size)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.avg_pool2d(maximum(x, self.dense), self.window.stride, ceil_mode=True)
        sizes = self.dense.shape(*x.shape[-2:])
        rows, columns = (kept(*axis) for axis in zip(sizes, self.window.stride, self.grid, strict=True))

        def picked(x: Tensor) -> Tensor:
            largest = maximum(x, self.dense).index_select(2, rows.to(x.device)).index_select(3, columns.to(x.device))
            return largest.contiguous(memory_format=layout(x))

        def plan() -> tuple[str, str]:
            height, width = x.shape[-2:]
            return written(self.dense.edges(0, height, rows)), written(self.dense.edges(1, width, columns))

        return cells(x, *self.dense.kernel, plan, picked)


def kept(size: int, step: int, grid: int) -> Tensor:
    """⌈size / step⌉ places in order, grid / step of them drawn from every strip of `grid`."""
    strips = -(-size // grid)
    score = torch.rand(strips * grid)
    score[size:] = 2  # beyond the map: last in the last strip
    order = score.unflatten(0, (strips, grid)).argsort(1)[:, : grid // step]
    places = order + grid * torch.arange(strips)[:, None]
    return places.flatten()[: -(-size // step)].sort().values
